//! EXIF orientation: how each format stores it, and how it is applied to an image.
use image::DynamicImage;
use image::metadata::Orientation;

use super::jpeg;
use super::sniff::Format;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Reads the EXIF orientation of an image file; `NoTransforms` if it is missing or invalid.
pub(super) fn read_orientation(format: Format, bytes: &[u8]) -> Orientation {
    let exif = match format {
        Format::Jpeg => jpeg::exif(bytes),
        Format::Png => chunk(
            bytes,
            8,
            *b"eXIf",
            u32::from_be_bytes,
            ChunkOrder::LengthFirst,
        ),
        Format::WebP => chunk(
            bytes,
            12,
            *b"EXIF",
            u32::from_le_bytes,
            ChunkOrder::NameFirst,
        ),
        // EXIF data is itself a TIFF file.
        Format::Tiff => Some(bytes),
        Format::Bmp | Format::Gif => None,
    };
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk)
        .unwrap_or(Orientation::NoTransforms)
}

/// Layout of a chunk.
#[derive(Clone, Copy)]
enum ChunkOrder {
    /// Length, name, data, checksum (PNG).
    LengthFirst,
    /// Name, length, data padded to an even length (RIFF).
    NameFirst,
}

/// Returns the data of the first chunk with that `name`, in a file whose chunks start at
/// `position`.
fn chunk(
    bytes: &[u8],
    mut position: usize,
    name: [u8; 4],
    parse_length: fn([u8; 4]) -> u32,
    order: ChunkOrder,
) -> Option<&[u8]> {
    loop {
        let (first, rest) = bytes.get(position..)?.split_first_chunk::<4>()?;
        let (second, data) = rest.split_first_chunk::<4>()?;
        let (chunk_name, length, trailing) = match order {
            ChunkOrder::LengthFirst => (second, parse_length(*first) as usize, 4),
            ChunkOrder::NameFirst => (
                first,
                parse_length(*second) as usize,
                parse_length(*second) as usize % 2,
            ),
        };
        if *chunk_name == name {
            return data.get(..length);
        }
        position = position
            .checked_add(8)?
            .checked_add(length)?
            .checked_add(trailing)?;
    }
}

/// Rotates and flips `image` according to `orientation`.
pub(super) fn apply_orientation(
    image: RgbImage,
    orientation: Orientation,
) -> Result<RgbImage, ImageError> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let (width, height) = (image.width(), image.height());
    let Some(buffer) = image::RgbImage::from_raw(width, height, image.into_pixels()) else {
        return Err(super::corrupt(
            "decoded",
            "pixel count does not match the image size",
        ));
    };
    let mut oriented = DynamicImage::ImageRgb8(buffer);
    oriented.apply_orientation(orientation);
    RgbImage::new(
        oriented.width(),
        oriented.height(),
        oriented.into_rgb8().into_raw(),
    )
}
