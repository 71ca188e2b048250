//! EXIF orientation: where each format keeps it, and turning a picture upright.
use image::DynamicImage;
use image::metadata::Orientation;

use super::jpeg;
use super::sniff::Format;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// The orientation that an image file states; none when it states none, or nonsense.
pub(super) fn of(format: Format, bytes: &[u8]) -> Orientation {
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
        // A TIFF is itself what EXIF is written in.
        Format::Tiff => Some(bytes),
        Format::Bmp | Format::Gif => None,
    };
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk)
        .unwrap_or(Orientation::NoTransforms)
}

#[derive(Clone, Copy)]
enum ChunkOrder {
    /// Length, name, data, checksum (PNG).
    LengthFirst,
    /// Name, length, data padded to an even length (RIFF).
    NameFirst,
}

/// The data of the first chunk called `name` in a file of chunks that start at `position`.
fn chunk(
    bytes: &[u8],
    mut position: usize,
    name: [u8; 4],
    length_of: fn([u8; 4]) -> u32,
    order: ChunkOrder,
) -> Option<&[u8]> {
    loop {
        let (first, rest) = bytes.get(position..)?.split_first_chunk::<4>()?;
        let (second, data) = rest.split_first_chunk::<4>()?;
        let (found, length, after) = match order {
            ChunkOrder::LengthFirst => (second, length_of(*first) as usize, 4),
            ChunkOrder::NameFirst => (
                first,
                length_of(*second) as usize,
                length_of(*second) as usize % 2,
            ),
        };
        if *found == name {
            return data.get(..length);
        }
        position = position
            .checked_add(8)?
            .checked_add(length)?
            .checked_add(after)?;
    }
}

/// Turns and mirrors `image` so that it stands as `orientation` says.
pub(super) fn upright(image: RgbImage, orientation: Orientation) -> Result<RgbImage, ImageError> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let (width, height) = (image.width(), image.height());
    let Some(buffer) = image::RgbImage::from_raw(width, height, image.into_pixels()) else {
        return Err(super::damaged("decoded", "its pixels do not fill its size"));
    };
    let mut picture = DynamicImage::ImageRgb8(buffer);
    picture.apply_orientation(orientation);
    RgbImage::new(
        picture.width(),
        picture.height(),
        picture.into_rgb8().into_raw(),
    )
}
