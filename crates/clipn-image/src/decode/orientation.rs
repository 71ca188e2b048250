//! EXIF orientation: how each format stores it, and how it is applied to an image.
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
        Format::Bmp | Format::Gif | Format::Pnm | Format::Qoi => None,
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

/// Side of the square tiles that are copied one after another, in pixels. The source of a tile fits
/// the first cache level, also where neighbors of a row come from different rows.
const TILE: usize = 32;

/// Rotates and flips `image` according to `orientation`.
pub(super) fn apply_orientation(
    image: RgbImage,
    orientation: Orientation,
) -> Result<RgbImage, ImageError> {
    let (width, height) = (image.width() as isize, image.height() as isize);
    let last = width * height - 1;
    let last_row = last + 1 - width;
    // The source of the first pixel, and the step in the source for a step right and a step down.
    let (first, right, down) = match orientation {
        Orientation::NoTransforms => return Ok(image),
        Orientation::Rotate90 => (last_row, -width, 1),
        Orientation::Rotate180 => (last, -1, -width),
        Orientation::Rotate270 => (width - 1, width, -1),
        Orientation::FlipHorizontal => (width - 1, -1, width),
        Orientation::FlipVertical => (last_row, 1, -width),
        Orientation::Rotate90FlipH => (0, width, 1),
        Orientation::Rotate270FlipH => (last, -width, -1),
    };
    let (out_width, out_height) = match orientation {
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (image.width(), image.height()),
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (image.height(), image.width()),
    };
    let (pixels, _) = image.pixels().as_chunks::<3>();
    let mut out = vec![0; image.pixels().len()];
    let (out_pixels, _) = out.as_chunks_mut::<3>();
    let row_length = out_width as usize;
    for (strip, rows) in out_pixels.chunks_mut(row_length * TILE).enumerate() {
        for column in (0..row_length).step_by(TILE) {
            for (y, row) in rows.chunks_mut(row_length).enumerate() {
                let y = strip * TILE + y;
                let mut source = first + column as isize * right + y as isize * down;
                for pixel in row.iter_mut().skip(column).take(TILE) {
                    *pixel = pixels[source as usize];
                    source += right;
                }
            }
        }
    }
    RgbImage::new(out_width, out_height, out)
}

#[cfg(test)]
mod tests {
    use image::DynamicImage;

    use super::*;

    #[test]
    fn every_orientation_agrees_with_the_image_crate() {
        let sides = [1, 2, 3, 31, 32, 33, 70];
        for (width, height) in sides.into_iter().flat_map(|w| sides.map(|h| (w, h))) {
            let values = (0..width * height * 3).map(|i| (i * 7 + i / 251) as u8);
            let pixels: Vec<u8> = values.collect();
            for exif in 1..=8 {
                let orientation = Orientation::from_exif(exif).unwrap();
                let buffer = image::RgbImage::from_raw(width, height, pixels.clone()).unwrap();
                let mut expected = DynamicImage::ImageRgb8(buffer);
                expected.apply_orientation(orientation);

                let image = RgbImage::new(width, height, pixels.clone()).unwrap();
                let found = apply_orientation(image, orientation).unwrap();
                let size = (found.width(), found.height());
                assert_eq!(
                    size,
                    (expected.width(), expected.height()),
                    "{orientation:?}"
                );
                let same = found.pixels() == expected.as_bytes();
                assert!(same, "{orientation:?} of {width}x{height}");
            }
        }
    }
}
