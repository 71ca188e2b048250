//! What can be wrong with an image, in words that say what to do about it.
use std::fmt;
use std::path::{Path, PathBuf};

/// Where an image came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Bytes in memory, which have no name.
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

/// Why an image could not be read, cropped or normalised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No file at that path.
    #[error("{origin}: no such file; check the path")]
    NotFound {
        /// The file.
        origin: Origin,
    },
    /// The file may not be read by this user.
    #[error("{origin}: permission denied; make the file readable for this user")]
    PermissionDenied {
        /// The file.
        origin: Origin,
    },
    /// The path names a folder.
    #[error("{origin}: is a folder, not an image; name a file in it")]
    IsFolder {
        /// The folder.
        origin: Origin,
    },
    /// The operating system failed to read the file.
    #[error("{origin}: cannot be read: {source}; check the disk or the network share")]
    Read {
        /// The file.
        origin: Origin,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// More bytes than an image within the pixel cap could take.
    #[error(
        "{origin}: larger than {limit} bytes, more than any image within the cap takes; scale it down"
    )]
    FileTooLarge {
        /// The file.
        origin: Origin,
        /// The most bytes that are read.
        limit: u64,
    },
    /// Nothing in it.
    #[error("{origin}: is empty (0 bytes); fetch or export the image again")]
    Empty {
        /// The file or bytes.
        origin: Origin,
    },
    /// The content starts like none of the formats that are read.
    #[error(
        "{origin}: not an image that can be read, looks like {looks_like}; \
         JPEG, PNG, WebP, BMP, GIF and TIFF are read"
    )]
    NotAnImage {
        /// The file or bytes.
        origin: Origin,
        /// What its first bytes look like, "a text file" for instance.
        looks_like: &'static str,
    },
    /// The content ends before the image does.
    #[error("{origin}: the {format} image is truncated; fetch or export it again")]
    Truncated {
        /// The file or bytes.
        origin: Origin,
        /// The format's name.
        format: &'static str,
    },
    /// The content breaks the rules of its format.
    #[error("{origin}: the {format} image is damaged: {reason}; fetch or export it again")]
    Damaged {
        /// The file or bytes.
        origin: Origin,
        /// The format's name.
        format: &'static str,
        /// What the decoder stumbled over.
        reason: String,
    },
    /// A kind of image within its format that is not read.
    #[error(
        "{origin}: {format} of this kind is not read: {what}; convert it to 8-bit RGB PNG or JPEG"
    )]
    Unsupported {
        /// The file or bytes.
        origin: Origin,
        /// The format's name.
        format: &'static str,
        /// The kind that is not read.
        what: String,
    },
    /// More pixels than the cap against decompression bombs.
    #[error(
        "{origin}: {width}x{height} is {pixels} pixels, over the cap of {limit}; \
         scale it down, or raise `max_pixels` if the image is to be trusted"
    )]
    TooManyPixels {
        /// The file or bytes.
        origin: Origin,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// `width` times `height`.
        pixels: u64,
        /// The cap.
        limit: u64,
    },
    /// No pixels at all.
    #[error("{origin}: {width}x{height} holds no pixels; export the image again")]
    ZeroSize {
        /// The file or bytes.
        origin: Origin,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Pixels that do not fill the shape they are said to have.
    #[error(
        "{found} bytes do not fill an image of {width}x{height}; pass width x height x 3 = {expected}"
    )]
    PixelCount {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes of `[H, W, 3]`.
        expected: u64,
        /// Bytes passed.
        found: usize,
    },
    /// A setting of the preprocessing that no tensor can be made with.
    #[error("preprocessing: {reason}")]
    Preprocessing {
        /// Which setting, its value and what it may be.
        reason: String,
    },
    /// A crop of another size than the preprocessing's.
    #[error(
        "the crop is {width}x{height}, but {size}x{size} is to be normalised; crop the image first"
    )]
    CropSize {
        /// The crop's width.
        width: u32,
        /// The crop's height.
        height: u32,
        /// The preprocessing's size.
        size: usize,
    },
    /// A slice of another length than the tensor.
    #[error(
        "the output holds {found} values, but [3, {size}, {size}] takes {expected}; use `tensor_len`"
    )]
    OutputLength {
        /// The preprocessing's size.
        size: usize,
        /// Values that the tensor takes.
        expected: usize,
        /// Values that the slice holds.
        found: usize,
    },
}

impl ImageError {
    /// The same error, naming `path` as the place it stands in.
    pub fn in_file(mut self, path: &Path) -> Self {
        match &mut self {
            Self::NotFound { origin }
            | Self::PermissionDenied { origin }
            | Self::IsFolder { origin }
            | Self::Read { origin, .. }
            | Self::FileTooLarge { origin, .. }
            | Self::Empty { origin }
            | Self::NotAnImage { origin, .. }
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
