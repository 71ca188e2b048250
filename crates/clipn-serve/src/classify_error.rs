use clipn::count::count;
use clipn::error::chain_in_one_line;
use clipn::image::{ImageError, ImageOrigin};

/// An error that leaves one image without a decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClassifyError {
    /// The image cannot be decoded.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// The text of a JSON image is not Base64.
    #[error(
        "invalid Base64: {}; send the bytes of an image file in Base64",
        .0.to_string().trim_end_matches('.')
    )]
    Base64(base64::DecodeError),
    /// No permit is free for another image.
    #[error("the queue is full (limit: {}); retry later", count(*.queue, "image"))]
    QueueFull { queue: usize },
    /// The deadline passed before the image was classified.
    #[error("deadline of {millis} ms exceeded; retry later")]
    Deadline { millis: u128 },
    /// Inference failed for this image.
    #[error("inference failed for this image; see the server log")]
    Computation,
    /// The server is shutting down.
    #[error("the server is shutting down; use another server")]
    Stopping,
    /// All workers are dead.
    #[error("all workers are dead; the server must be restarted")]
    NoWorkers,
}

impl ClassifyError {
    /// Description for clients, with causes. It does not name what only the server knows, such as
    /// that it has the image in memory.
    pub(crate) fn message(&self) -> String {
        let message = chain_in_one_line(self);
        let origin = format!("{}: ", ImageOrigin::Memory);
        match message.strip_prefix(&origin) {
            Some(rest) => rest.to_owned(),
            None => message,
        }
    }

    /// The stable, machine-readable error code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Image(error) => match error {
                ImageError::Empty { .. } => "empty_image",
                ImageError::UnknownFormat { .. } => "not_an_image",
                ImageError::Truncated { .. } => "truncated_image",
                ImageError::Unsupported { .. }
                | ImageError::UnclearBands { .. }
                | ImageError::BandOutOfRange { .. }
                | ImageError::DimSamples { .. } => "unsupported_image",
                ImageError::TooManyPixels { .. } | ImageError::FileTooLarge { .. } => {
                    "image_too_large"
                }
                _ => "damaged_image",
            },
            Self::Base64(_) => "bad_base64",
            Self::QueueFull { .. } => "queue_full",
            Self::Deadline { .. } => "deadline_exceeded",
            Self::Computation => "computation_failed",
            Self::Stopping => "stopping",
            Self::NoWorkers => "no_workers",
        }
    }

    /// The HTTP status of a request that contains only this image.
    pub(crate) fn status(&self) -> u16 {
        match self.code() {
            "empty_image" | "bad_base64" => 400,
            "not_an_image" | "unsupported_image" => 415,
            "image_too_large" => 413,
            "truncated_image" | "damaged_image" => 422,
            "queue_full" => 429,
            "deadline_exceeded" => 504,
            "stopping" | "no_workers" => 503,
            _ => 500,
        }
    }
}
