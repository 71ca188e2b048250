//! Errors of reading, decoding and preprocessing an image.
use std::fmt;
use std::path::PathBuf;

use clipn_base::content::ContentKind;

/// Source of an image, as named in error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageOrigin {
    /// Path of an image file.
    File(PathBuf),
    /// Bytes in memory, without a name.
    Memory,
}

impl fmt::Display for ImageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str("image bytes"),
        }
    }
}

/// Error of reading, decoding, cropping or normalizing an image.
///
/// [`hint`](Self::hint) returns what a caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The path does not exist.
    #[error("{origin}: no such file")]
    NotFound {
        /// Path of the file.
        origin: ImageOrigin,
    },
    /// The user has no permission to read the file.
    #[error("{origin}: permission denied")]
    PermissionDenied {
        /// Path of the file.
        origin: ImageOrigin,
    },
    /// The path is a directory.
    #[error("{origin}: expected an image file, got a directory")]
    IsDirectory {
        /// Path of the directory.
        origin: ImageOrigin,
    },
    /// The path is a pipe, a socket or a device, from which a read may never return.
    #[error("{origin}: not a regular file")]
    NotAFile {
        /// Path of the pipe, socket or device.
        origin: ImageOrigin,
    },
    /// The file cannot be read, for a reason other than those above.
    #[error("{origin}: cannot read file")]
    Read {
        /// Path of the file.
        origin: ImageOrigin,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is larger than any image within [`DecodeOptions::max_pixels`] can be.
    ///
    /// [`DecodeOptions::max_pixels`]: crate::DecodeOptions::max_pixels
    #[error("{origin}: file exceeds the size limit of {limit} bytes")]
    FileTooLarge {
        /// Path of the file.
        origin: ImageOrigin,
        /// Maximum file size in bytes.
        limit: u64,
    },
    /// The file or slice has no bytes.
    #[error("{origin}: empty image file (0 bytes)")]
    Empty {
        /// File or bytes in memory.
        origin: ImageOrigin,
    },
    /// The first bytes match none of the supported formats.
    #[error(
        "{origin}: expected a JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or QOI image, got {detected_content}"
    )]
    UnknownFormat {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Kind of content detected from the first bytes, for example "a text file".
        detected_content: &'static str,
    },
    /// The content ends before the end of the image.
    #[error("{origin}: truncated {format} image")]
    Truncated {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Name of the image format.
        format: &'static str,
    },
    /// The content violates its format.
    #[error("{origin}: corrupt {format} image: {reason}")]
    Corrupt {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Name of the image format.
        format: &'static str,
        /// Violation that the decoder reports.
        reason: String,
    },
    /// The image uses a feature of its format that is not supported.
    #[error("{origin}: unsupported {format} image: {feature}")]
    Unsupported {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Name of the image format.
        format: &'static str,
        /// Unsupported feature.
        feature: String,
    },
    /// The image has bands without a color.
    #[error("{origin}: expected a grayscale or color image, got {bands} bands without colors")]
    UnclearBands {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Number of bands.
        bands: u16,
    },
    /// One of [`DecodeOptions::bands`] is not in the image.
    ///
    /// [`DecodeOptions::bands`]: crate::DecodeOptions::bands
    #[error("{origin}: no band {band}; the image has {bands}")]
    BandOutOfRange {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Requested band, counted from 1.
        band: u16,
        /// Number of bands.
        bands: u16,
    },
    /// The 16-bit samples are so small that the image would be nearly black in 8 bits, as those of
    /// 12-bit cameras are.
    #[error("{origin}: nearly black image: the highest 16-bit sample is {highest} of 65535")]
    DimSamples {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Highest sample.
        highest: u16,
    },
    /// The image has more pixels than [`DecodeOptions::max_pixels`], the limit against
    /// decompression bombs.
    ///
    /// [`DecodeOptions::max_pixels`]: crate::DecodeOptions::max_pixels
    #[error("{origin}: {width}x{height} image has {pixels} pixels, more than the limit of {limit}")]
    TooManyPixels {
        /// File or bytes in memory.
        origin: ImageOrigin,
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
    NoPixels {
        /// File or bytes in memory.
        origin: ImageOrigin,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The length of the pixel data does not match the shape `[H, W, 3]`.
    #[error("expected {expected} bytes for a {width}x{height} RGB image, got {actual}")]
    PixelCount {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Expected number of bytes, `height * width * 3`.
        expected: u64,
        /// Number of bytes passed.
        actual: usize,
    },
    /// A setting of [`Preprocessing`](crate::Preprocessing), of
    /// [`Augmentation`](crate::Augmentation) or of a crop is out of range.
    #[error("invalid image setting {setting}: {reason}")]
    InvalidSetting {
        /// Serialized name of the setting, for example `colour_jitter.contrast`.
        setting: &'static str,
        /// Expected range and value.
        reason: String,
    },
    /// The size of the crop differs from [`Preprocessing::size`].
    ///
    /// [`Preprocessing::size`]: crate::Preprocessing::size
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
    /// [`Preprocessing::tensor_len`]: crate::Preprocessing::tensor_len
    #[error("expected an output of {expected} values ([3, {size}, {size}]), got {actual}")]
    OutputLength {
        /// Expected side in pixels.
        size: usize,
        /// Number of values of the tensor, `3 * size * size`.
        expected: usize,
        /// Length of the slice.
        actual: usize,
    },
}

impl ImageError {
    /// Sets the origin of the error to `path`, if the variant has one.
    ///
    /// For images that are decoded from memory but have a name, such as a member of an archive.
    ///
    /// ```
    /// use clipn_image::{DecodeOptions, decode_bytes};
    ///
    /// let error = decode_bytes(b"", &DecodeOptions::default()).unwrap_err();
    /// let error = error.with_path("photos.tar/cat.jpg");
    /// assert_eq!(error.to_string(), "photos.tar/cat.jpg: empty image file (0 bytes)");
    /// ```
    #[must_use]
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Self {
        match &mut self {
            Self::NotFound { origin }
            | Self::PermissionDenied { origin }
            | Self::IsDirectory { origin }
            | Self::NotAFile { origin }
            | Self::Read { origin, .. }
            | Self::FileTooLarge { origin, .. }
            | Self::Empty { origin }
            | Self::UnknownFormat { origin, .. }
            | Self::Truncated { origin, .. }
            | Self::Corrupt { origin, .. }
            | Self::Unsupported { origin, .. }
            | Self::UnclearBands { origin, .. }
            | Self::BandOutOfRange { origin, .. }
            | Self::DimSamples { origin, .. }
            | Self::TooManyPixels { origin, .. }
            | Self::NoPixels { origin, .. } => *origin = ImageOrigin::File(path.into()),
            Self::PixelCount { .. }
            | Self::InvalidSetting { .. }
            | Self::CropSize { .. }
            | Self::OutputLength { .. } => {}
        }
        self
    }

    /// Returns advice for a caller who meets the error; `None` if the message says it all.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound { .. } => "check the path",
            Self::PermissionDenied { .. } => "make the file readable for this user",
            Self::IsDirectory { .. } => "name a file in the directory",
            Self::NotAFile { .. } => "read its bytes and pass them to `decode_bytes`",
            Self::Read { .. } => "check the disk or the network share",
            Self::FileTooLarge { .. } => {
                "scale the image down, or raise `DecodeOptions::max_pixels`"
            }
            Self::Empty { .. }
            | Self::Truncated { .. }
            | Self::Corrupt { .. }
            | Self::NoPixels { .. } => "download or export the image again",
            Self::UnknownFormat {
                detected_content, ..
            } if *detected_content == ContentKind::GitLfsPointer.name() => "run `git lfs pull`",
            Self::UnknownFormat { .. } => "convert the file to JPEG or PNG",
            Self::Unsupported { .. } => "convert the image to an 8-bit RGB PNG or JPEG",
            Self::UnclearBands { .. } | Self::BandOutOfRange { .. } => {
                "name the bands of red, green and blue with `DecodeOptions::bands`"
            }
            Self::DimSamples { .. } => {
                "name the number of bits that the samples use with `DecodeOptions::sample_bits`; 16 \
                 if the image is meant to be that dark"
            }
            Self::TooManyPixels { .. } => {
                "scale the image down, or raise `DecodeOptions::max_pixels` if it is trusted"
            }
            Self::PixelCount { .. } => "pass `width * height * 3` bytes",
            Self::CropSize { .. } => "crop the image first with `Preprocessing::crop`",
            Self::OutputLength { .. } => "allocate `Preprocessing::tensor_len()` values",
            Self::InvalidSetting { .. } => return None,
        })
    }
}
