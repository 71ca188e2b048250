use clipn::image::ImageError;

/// Why one picture has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The picture cannot be read.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// The text that should be a picture is not Base64.
    #[error("not Base64: {0}; send the bytes of an image file in standard Base64")]
    Base64(base64::DecodeError),
    /// There is no room for another picture.
    #[error("the server is at its limit of {queue} pictures; try again in a moment")]
    QueueFull { queue: usize },
    /// The deadline passed before the picture was computed.
    #[error("not answered within {millis} ms; try again when the server is less busy")]
    Deadline { millis: u128 },
    /// The computation failed on this picture.
    #[error("the computation failed on this picture; the server's log tells more")]
    Computation,
    /// The server is going down.
    #[error("the server is stopping; ask another one")]
    Stopping,
    /// No worker is left.
    #[error("no worker is left to compute anything; the server must be restarted")]
    NoWorkers,
}

impl Failure {
    /// A name that a program can tell the failure by.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Image(error) => match error {
                ImageError::Empty { .. } => "empty_image",
                ImageError::NotAnImage { .. } => "not_an_image",
                ImageError::Truncated { .. } => "truncated_image",
                ImageError::Unsupported { .. } => "unsupported_image",
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

    /// The status of a request of this picture alone.
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
