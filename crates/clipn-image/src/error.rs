//! Errors of reading, decoding and preprocessing an image.
use std::fmt;
use std::path::{Path, PathBuf};

/// Source of an image, as named in error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Path of an image file.
    File(PathBuf),
    /// Bytes in memory, without a name.
    Bytes,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Bytes => f.write_str("image bytes"),
        }
    }
}

/// Error of reading, decoding, cropping or normalizing an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The path does not exist.
    #[error("{origin}: no such file")]
    NotFound {
        /// Path of the file.
        origin: Origin,
    },
    /// The user has no permission to read the file.
    #[error("{origin}: permission denied")]
    PermissionDenied {
        /// Path of the file.
        origin: Origin,
    },
    /// The path is a directory.
    #[error("{origin}: expected an image file, got a directory")]
    IsDirectory {
        /// Path of the directory.
        origin: Origin,
    },
    /// The file cannot be read, for a reason other than the three above.
    #[error("{origin}: cannot read file")]
    Read {
        /// Path of the file.
        origin: Origin,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is larger than any image within [`DecodeOptions::max_pixels`] can be.
    ///
    /// [`DecodeOptions::max_pixels`]: super::DecodeOptions::max_pixels
    #[error("{origin}: file exceeds the size limit of {limit} bytes")]
    FileTooLarge {
        /// Path of the file.
        origin: Origin,
        /// Maximum file size in bytes.
        limit: u64,
    },
    /// The file or slice has no bytes.
    #[error("{origin}: empty image file (0 bytes)")]
    Empty {
        /// File or bytes in memory.
        origin: Origin,
    },
    /// The first bytes match none of the supported formats.
    #[error("{origin}: expected a JPEG, PNG, WebP, BMP, GIF or TIFF image, got {detected_content}")]
    UnknownFormat {
        /// File or bytes in memory.
        origin: Origin,
        /// Kind of content detected from the first bytes, for example "a text file".
        detected_content: &'static str,
    },
    /// The content ends before the end of the image.
    #[error("{origin}: truncated {format} image")]
    Truncated {
        /// File or bytes in memory.
        origin: Origin,
        /// Name of the image format.
        format: &'static str,
    },
    /// The content violates its format.
    #[error("{origin}: corrupt {format} image: {reason}")]
    Damaged {
        /// File or bytes in memory.
        origin: Origin,
        /// Name of the image format.
        format: &'static str,
        /// Violation that the decoder reports.
        reason: String,
    },
    /// The image uses a feature of its format that is not supported.
    #[error("{origin}: unsupported {format} image: {what}")]
    Unsupported {
        /// File or bytes in memory.
        origin: Origin,
        /// Name of the image format.
        format: &'static str,
        /// Unsupported feature.
        what: String,
    },
    /// The image has more pixels than [`DecodeOptions::max_pixels`], the limit against
    /// decompression bombs.
    ///
    /// [`DecodeOptions::max_pixels`]: super::DecodeOptions::max_pixels
    #[error("{origin}: {width}x{height} image has {pixels} pixels, more than the limit of {limit}")]
    TooManyPixels {
        /// File or bytes in memory.
        origin: Origin,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// `width * height`.
        pixels: u64,
        /// Maximum number of pixels.
        limit: u64,
    },
    /// The width or the height is 0.
    #[error("{origin}: image has no pixels ({width}x{height})")]
    ZeroSize {
        /// File or bytes in memory.
        origin: Origin,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The length of the pixel data does not match the shape `[H, W, 3]`.
    #[error("expected {expected} bytes for a {width}x{height} RGB image, got {found}")]
    PixelCount {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Expected number of bytes, `height * width * 3`.
        expected: u64,
        /// Number of bytes passed.
        found: usize,
    },
    /// A preprocessing or augmentation setting is invalid.
    #[error("invalid preprocessing: {reason}")]
    Preprocessing {
        /// Name of the setting, expected range and value.
        reason: String,
    },
    /// The size of the crop differs from [`Preprocessing::size`].
    ///
    /// [`Preprocessing::size`]: super::Preprocessing::size
    #[error("expected a {size}x{size} crop, got {width}x{height}")]
    CropSize {
        /// Width of the crop in pixels.
        width: u32,
        /// Height of the crop in pixels.
        height: u32,
        /// Expected side in pixels.
        size: usize,
    },
    /// The length of the output slice differs from [`Preprocessing::tensor_len`].
    ///
    /// [`Preprocessing::tensor_len`]: super::Preprocessing::tensor_len
    #[error("expected an output of {expected} values ([3, {size}, {size}]), got {found}")]
    OutputLength {
        /// Expected side in pixels.
        size: usize,
        /// Number of values of the tensor, `3 * size * size`.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
}

impl ImageError {
    /// Sets the origin of the error to `path`, if the variant has one.
    pub fn in_file(mut self, path: &Path) -> Self {
        match &mut self {
            Self::NotFound { origin }
            | Self::PermissionDenied { origin }
            | Self::IsDirectory { origin }
            | Self::Read { origin, .. }
            | Self::FileTooLarge { origin, .. }
            | Self::Empty { origin }
            | Self::UnknownFormat { origin, .. }
            | Self::Truncated { origin, .. }
            | Self::Damaged { origin, .. }
            | Self::Unsupported { origin, .. }
            | Self::TooManyPixels { origin, .. }
            | Self::ZeroSize { origin, .. } => *origin = Origin::File(path.to_path_buf()),
            Self::PixelCount { .. }
            | Self::Preprocessing { .. }
            | Self::CropSize { .. }
            | Self::OutputLength { .. } => {}
        }
        self
    }
}
