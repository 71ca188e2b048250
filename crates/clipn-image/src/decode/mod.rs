//! Files and bytes into [`RgbImage`], as Pillow's `Image.open(…).convert("RGB")` reads them.
mod bmp;
mod gif;
mod jpeg;
mod orientation;
mod png;
mod samples;
mod sniff;
mod tiff;
mod webp;

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::sniff::Format;
use super::error::{ImageError, Origin};
use super::rgb::RgbImage;

/// Pillow's limit between a warning and an error: twice its `MAX_IMAGE_PIXELS`.
const PILLOW_MAX_PIXELS: u64 = 2 * 89_478_485;

/// Bytes of a file beside its pixels: metadata, profiles, thumbnails, later frames.
const FILE_OVERHEAD: u64 = 256 << 20;

/// How files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeOptions {
    /// Turns the picture upright as its EXIF orientation says. Pillow does so by itself for TIFF only, and so does
    /// this library whatever is set here.
    pub apply_orientation: bool,
    /// Takes the high byte of 16-bit grey, where Pillow clips all values above 255 to white.
    pub scale_16_bit: bool,
    /// The most pixels that a picture may have; larger ones are refused before memory is taken.
    pub max_pixels: u64,
}

impl DecodeOptions {
    /// What the published code does: no EXIF rotation, 16-bit grey clips.
    pub const fn faithful() -> Self {
        Self {
            apply_orientation: false,
            scale_16_bit: false,
            max_pixels: PILLOW_MAX_PIXELS,
        }
    }

    /// What the picture was meant to look like: EXIF rotation applied, 16-bit grey scaled.
    pub const fn for_users() -> Self {
        Self {
            apply_orientation: true,
            scale_16_bit: true,
            max_pixels: PILLOW_MAX_PIXELS,
        }
    }
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self::faithful()
    }
}

/// Decodes the file at `path`, whatever its extension says.
///
/// # Errors
/// Any [`ImageError`] of reading and decoding, naming `path`.
pub fn decode_file(path: &Path, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    read_file(path, options)
        .and_then(|bytes| decode_bytes(&bytes, options))
        .map_err(|error| error.in_file(path))
}

/// Decodes the bytes of an image file.
///
/// # Errors
/// Any [`ImageError`] of decoding.
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty {
            origin: Origin::Bytes,
        });
    }
    let Some(format) = sniff::format(bytes) else {
        let looks_like = sniff::looks_like(bytes);
        return Err(ImageError::NotAnImage {
            origin: Origin::Bytes,
            looks_like,
        });
    };
    // The decoders are other people's code and see whatever is on the disk: a bug in one of them on one file must not
    // end a run over a million.
    let image = catch_unwind(AssertUnwindSafe(|| decode_format(format, bytes, options)))
        .unwrap_or_else(|_| Err(damaged(format.name(), "the decoder failed on it")))?;
    if options.apply_orientation || format == Format::Tiff {
        return orientation::upright(image, orientation::of(format, bytes));
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
    }
}

fn read_file(path: &Path, options: &DecodeOptions) -> Result<Vec<u8>, ImageError> {
    let origin = || Origin::File(path.to_path_buf());
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ImageError::NotFound { origin: origin() },
        io::ErrorKind::PermissionDenied => ImageError::PermissionDenied { origin: origin() },
        io::ErrorKind::IsADirectory => ImageError::IsFolder { origin: origin() },
        _ => ImageError::Read {
            origin: origin(),
            source,
        },
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(ImageError::IsFolder { origin: origin() });
    }
    // No format takes more than 8 bytes a pixel and overhead; an endless device is not read to its end.
    let limit = options
        .max_pixels
        .saturating_mul(8)
        .saturating_add(FILE_OVERHEAD);
    let mut bytes = Vec::new();
    if metadata.len() <= limit {
        bytes.reserve_exact(metadata.len() as usize + 1);
    }
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::FileTooLarge {
            origin: origin(),
            limit,
        });
    }
    Ok(bytes)
}

/// Refuses sizes of no pixels and sizes over the cap; to be called before memory is taken.
fn check_size(width: u32, height: u32, options: &DecodeOptions) -> Result<(), ImageError> {
    let (origin, limit) = (Origin::Bytes, options.max_pixels);
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::ZeroSize {
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

#[allow(clippy::needless_pass_by_value)] // `map_err` hands errors over by value.
fn damaged(format: &'static str, reason: impl std::fmt::Display) -> ImageError {
    ImageError::Damaged {
        origin: Origin::Bytes,
        format,
        reason: reason.to_string(),
    }
}

fn truncated(format: &'static str) -> ImageError {
    ImageError::Truncated {
        origin: Origin::Bytes,
        format,
    }
}

#[allow(clippy::needless_pass_by_value)] // `map_err` hands errors over by value.
fn unsupported(format: &'static str, what: impl std::fmt::Display) -> ImageError {
    ImageError::Unsupported {
        origin: Origin::Bytes,
        format,
        what: what.to_string(),
    }
}

/// An error of the `image` crate in the words of this one.
fn from_image_crate(format: &'static str, error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::IoError(error) => from_io(format, &error),
        image::ImageError::Unsupported(error) => unsupported(format, error),
        image::ImageError::Limits(_) => unsupported(
            format,
            "it takes more memory to decode than its size allows",
        ),
        image::ImageError::Decoding(error) => match io_cause(&error) {
            Some(io) => from_io(format, io),
            None => damaged(format, error),
        },
        error => damaged(format, error),
    }
}

fn from_io(format: &'static str, error: &io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(format),
        _ => damaged(format, error),
    }
}

/// The reading error at the bottom of a decoder's error, if there is one.
fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}
