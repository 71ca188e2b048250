//! Decoding of image files into [`RgbImage`], as Pillow's `Image.open(…).convert("RGB")` does.
mod bmp;
mod gif;
mod ifd;
mod jpeg;
mod orientation;
mod png;
mod pnm;
mod qoi;
mod samples;
mod sniff;
mod tiff;
mod webp;

use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::orientation::apply_exif_orientation;
use self::sniff::Format;
pub use self::sniff::{IMAGE_START_BYTES, is_image_start};
use crate::error::{ImageError, ImageOrigin};
use crate::rgb::RgbImage;

/// Number of pixels above which Pillow raises an error: twice its `MAX_IMAGE_PIXELS`.
const PILLOW_MAX_PIXELS: u64 = 2 * 89_478_485;

/// Maximum bytes of a file besides its pixels: metadata, profiles, thumbnails, later frames.
const FILE_OVERHEAD: u64 = 256 << 20;
/// Bytes from which the format is detected, before the rest of a file is read.
const START_BYTES: u64 = 4096;

/// Options for decoding image files.
///
/// ```
/// use clipn_image::DecodeOptions;
///
/// let options = DecodeOptions::for_display().with_max_pixels(1 << 24);
/// assert!(options.apply_orientation);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeOptions {
    /// Whether the EXIF orientation is applied.
    ///
    /// It is always applied to TIFF images, as Pillow does.
    pub apply_orientation: bool,
    /// Whether 16-bit grayscale is scaled to its high byte. Otherwise values above 255 are clipped
    /// to white, as Pillow does.
    pub scale_16_bit: bool,
    /// Maximum number of pixels; larger images are rejected before memory is allocated. 178,956,970
    /// by default, as in Pillow.
    pub max_pixels: u64,
    /// Bands that become red, green and blue, counted from 1; `None` for the image's own colors.
    ///
    /// TIFF images may have many bands. Those of other images are their red, green and blue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<[u16; 3]>,
    /// Number of bits that 16-bit samples use, 8 to 16. `None` stands for 16, but an image for display
    /// is rejected if it would be nearly black, as 12-bit samples of cameras are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_bits: Option<u8>,
}

impl DecodeOptions {
    /// Returns the options of the published code: EXIF orientation ignored, 16-bit grayscale
    /// clipped.
    pub const fn faithful() -> Self {
        Self {
            apply_orientation: false,
            scale_16_bit: false,
            max_pixels: PILLOW_MAX_PIXELS,
            bands: None,
            sample_bits: None,
        }
    }

    /// Returns the options for images as they are meant to be seen: EXIF orientation applied,
    /// 16-bit grayscale scaled.
    pub const fn for_display() -> Self {
        Self {
            apply_orientation: true,
            scale_16_bit: true,
            max_pixels: PILLOW_MAX_PIXELS,
            bands: None,
            sample_bits: None,
        }
    }

    /// Sets the maximum number of pixels.
    #[must_use]
    pub const fn with_max_pixels(mut self, max_pixels: u64) -> Self {
        self.max_pixels = max_pixels;
        self
    }

    /// Sets the bands that become red, green and blue, counted from 1.
    #[must_use]
    pub const fn with_bands(mut self, bands: [u16; 3]) -> Self {
        self.bands = Some(bands);
        self
    }

    /// Sets the number of bits that 16-bit samples use, 8 to 16.
    #[must_use]
    pub const fn with_sample_bits(mut self, bits: u8) -> Self {
        self.sample_bits = Some(bits);
        self
    }

    /// Validates the settings, as every decoding does.
    ///
    /// # Errors
    /// [`ImageError::InvalidSetting`] that names the first invalid setting.
    pub fn validate(&self) -> Result<(), ImageError> {
        let invalid = |setting, reason| Err(ImageError::InvalidSetting { setting, reason });
        if self.bands.is_some_and(|bands| bands.contains(&0)) {
            return invalid("bands", "bands are counted from 1, got 0".to_owned());
        }
        match self.sample_bits {
            None | Some(8..=16) => Ok(()),
            Some(bits) => invalid("sample_bits", format!("expected 8 to 16, got {bits}")),
        }
    }
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self::faithful()
    }
}

/// Decodes the image file at `path`. The format is detected from the content, not the extension.
///
/// # Errors
/// An [`ImageError`] that names `path`:
/// - [`NotFound`](ImageError::NotFound), [`PermissionDenied`](ImageError::PermissionDenied),
///   [`IsDirectory`](ImageError::IsDirectory) or [`Read`](ImageError::Read) if the file cannot be
///   read.
/// - [`NotAFile`](ImageError::NotAFile) if the path is a pipe, a socket or a device: a list of paths may name one
///   by accident, and opening it may block forever. Read its bytes for [`decode_bytes`].
/// - [`FileTooLarge`](ImageError::FileTooLarge) if the file is larger than any image within
///   [`DecodeOptions::max_pixels`].
/// - Any error of [`decode_bytes`].
pub fn decode_file(
    path: impl AsRef<Path>,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let path = path.as_ref();
    read_file(path, options)
        .and_then(|bytes| decode_bytes(&bytes, options))
        .map_err(|error| error.with_path(path))
}

/// Decodes the bytes of an image file. The format is detected from the first bytes.
///
/// # Errors
/// - [`ImageError::Empty`] if `bytes` is empty.
/// - [`ImageError::UnknownFormat`] if the format is not supported.
/// - [`ImageError::TooManyPixels`] or [`ImageError::NoPixels`] if the size is not accepted.
/// - [`ImageError::Truncated`], [`ImageError::Corrupt`] or [`ImageError::Unsupported`] if the image
///   cannot be decoded.
/// - [`ImageError::UnclearBands`] or [`ImageError::BandOutOfRange`] if the bands are not those of a color
///   image, or not there; [`ImageError::DimSamples`] if 16-bit samples would be nearly black.
/// - [`ImageError::InvalidSetting`] if an option is invalid.
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    options.validate()?;
    if bytes.is_empty() {
        return Err(ImageError::Empty {
            origin: ImageOrigin::Memory,
        });
    }
    let Some(format) = sniff::detect_format(bytes) else {
        let detected_content = sniff::detected_content(bytes);
        return Err(ImageError::UnknownFormat {
            origin: ImageOrigin::Memory,
            detected_content,
        });
    };
    // Most decoders are third-party code and process untrusted files: a panic on one file must not
    // end a run over a million files.
    let image = catch_unwind(AssertUnwindSafe(|| decode_format(format, bytes, options)))
        .unwrap_or_else(|_| Err(corrupt(format.name(), "decoder panicked")))?;
    // A TIFF image selects its bands itself.
    let image = match options.bands.filter(|_| format != Format::Tiff) {
        Some(bands) => samples::select_channels(&image, bands)?,
        None => image,
    };
    if options.apply_orientation || format == Format::Tiff {
        return orientation::apply_orientation(image, orientation::read_orientation(format, bytes));
    }
    Ok(image)
}

fn decode_format(
    format: Format,
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    match format {
        Format::Jpeg => jpeg::decode(bytes, options),
        Format::Png => png::decode(bytes, options),
        Format::WebP => webp::decode(bytes, options),
        Format::Bmp => bmp::decode(bytes, options),
        Format::Gif => gif::decode(bytes, options),
        Format::Tiff => tiff::decode(bytes, options),
        Format::Pnm => pnm::decode(bytes, options),
        Format::Qoi => qoi::decode(bytes, options),
    }
}

/// Reads the image file at `path` without decoding it.
///
/// # Errors
/// Those of [`decode_file`] for files that cannot be read or are too large.
pub fn read_file(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Vec<u8>, ImageError> {
    let path = path.as_ref();
    let origin = || ImageOrigin::File(path.to_path_buf());
    let convert_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ImageError::NotFound { origin: origin() },
        io::ErrorKind::PermissionDenied => ImageError::PermissionDenied { origin: origin() },
        io::ErrorKind::IsADirectory => ImageError::IsDirectory { origin: origin() },
        _ => ImageError::Read {
            origin: origin(),
            source,
        },
    };
    // Before the file is opened, since that already blocks for a pipe without a writer.
    let metadata = fs::metadata(path).map_err(convert_error)?;
    if metadata.is_dir() {
        return Err(ImageError::IsDirectory { origin: origin() });
    }
    if !metadata.is_file() {
        return Err(ImageError::NotAFile { origin: origin() });
    }
    let file = File::open(path).map_err(convert_error)?;
    // No format takes more than 8 bytes per pixel plus overhead.
    let limit = options
        .max_pixels
        .saturating_mul(8)
        .saturating_add(FILE_OVERHEAD);
    let too_large = || ImageError::FileTooLarge {
        origin: origin(),
        limit,
    };
    let mut file = file.take(limit.saturating_add(1));
    let mut bytes = Vec::new();
    (&mut file)
        .take(START_BYTES)
        .read_to_end(&mut bytes)
        .map_err(convert_error)?;
    // A file that is no image is not read to its end.
    if !bytes.is_empty() && sniff::detect_format(&bytes).is_none() {
        return Err(ImageError::UnknownFormat {
            origin: origin(),
            detected_content: sniff::detected_content(&bytes),
        });
    }
    if metadata.len() > limit {
        return Err(too_large());
    }
    bytes.reserve_exact((metadata.len() as usize + 1).saturating_sub(bytes.len()));
    file.read_to_end(&mut bytes).map_err(convert_error)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Rejects sizes without pixels and sizes over the limit. Called before memory is allocated.
fn check_size(width: u32, height: u32, options: &DecodeOptions) -> Result<(), ImageError> {
    let (origin, limit) = (ImageOrigin::Memory, options.max_pixels);
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::NoPixels {
            origin,
            width,
            height,
        });
    }
    if pixels > limit {
        return Err(ImageError::TooManyPixels {
            origin,
            width,
            height,
            pixels,
            limit,
        });
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // `map_err` passes errors by value.
fn corrupt(format: &'static str, reason: impl std::fmt::Display) -> ImageError {
    ImageError::Corrupt {
        origin: ImageOrigin::Memory,
        format,
        reason: reason.to_string(),
    }
}

fn truncated(format: &'static str) -> ImageError {
    ImageError::Truncated {
        origin: ImageOrigin::Memory,
        format,
    }
}

#[allow(clippy::needless_pass_by_value)] // `map_err` passes errors by value.
fn unsupported(format: &'static str, feature: impl std::fmt::Display) -> ImageError {
    ImageError::Unsupported {
        origin: ImageOrigin::Memory,
        format,
        feature: feature.to_string(),
    }
}

fn from_io(format: &'static str, error: &io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(format),
        _ => corrupt(format, error),
    }
}
