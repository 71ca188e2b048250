//! EXIF orientation: how each format stores it, and how it is applied to an image.
use super::jpeg;
use super::sniff::Format;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Tag of the orientation in the first directory of EXIF data.
const ORIENTATION_TAG: u16 = 0x112;

/// TIFF field type of a 16-bit number.
const SHORT: u16 = 3;

/// Turn of an image that shows it upright. Rotations are clockwise and come before the flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    NoTransforms,
    Rotate90,
    Rotate180,
    Rotate270,
    FlipHorizontal,
    FlipVertical,
    Rotate90FlipH,
    Rotate270FlipH,
}

impl Orientation {
    /// Converts the EXIF value, 1 to 8.
    fn from_exif(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::NoTransforms,
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Rotate90FlipH,
            6 => Self::Rotate90,
            7 => Self::Rotate270FlipH,
            8 => Self::Rotate270,
            _ => return None,
        })
    }

    /// Reads the orientation from EXIF data, which is a TIFF file.
    fn from_exif_data(exif: &[u8]) -> Option<Self> {
        let is_big_endian = match exif.first_chunk()? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let number = |offset: usize, length: usize| {
            let field = exif.get(offset..offset.checked_add(length)?)?;
            let next = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
            Some(match is_big_endian {
                true => field.iter().fold(0, next),
                false => field.iter().rev().fold(0, next),
            })
        };
        let short = |offset: usize| number(offset, 2).map(|value| value as u16);
        let directory = number(4, 4)? as usize;
        let entries = usize::from(short(directory)?);
        for entry in (0..entries).map(|index| directory + 2 + 12 * index) {
            let value = exif.get(entry..entry + 12).and(short(entry + 8))?;
            let is_short = short(entry + 2)? == SHORT && number(entry + 4, 4)? == 1;
            if short(entry)? == ORIENTATION_TAG && is_short {
                return Self::from_exif(value);
            }
        }
        None
    }
}

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
    exif.and_then(Orientation::from_exif_data)
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
    use super::*;

    /// Position of the source of the upright pixel `(x, y)` in an image of `width` and `height`, by
    /// the definition of EXIF: where row 0 and column 0 of the stored image are shown.
    fn source(exif: u16, (x, y): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
        let (right, bottom) = (width - 1, height - 1);
        match exif {
            1 => (x, y),
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (y, bottom - x),
            7 => (right - y, bottom - x),
            _ => (right - y, x),
        }
    }

    #[test]
    fn every_orientation_moves_every_pixel_as_exif_defines() {
        let sides = [1, 2, 3, 31, 32, 33, 70];
        for (width, height) in sides.into_iter().flat_map(|w| sides.map(|h| (w, h))) {
            let values = (0..width * height * 3).map(|i| (i * 7 + i / 251) as u8);
            let pixels: Vec<u8> = values.collect();
            for exif in 1..=8 {
                let orientation = Orientation::from_exif(exif).unwrap();
                let image = RgbImage::new(width, height, pixels.clone()).unwrap();
                let found = apply_orientation(image, orientation).unwrap();
                let size = if exif < 5 {
                    (width, height)
                } else {
                    (height, width)
                };
                assert_eq!((found.width(), found.height()), size, "{orientation:?}");
                for (index, pixel) in found.pixels().as_chunks::<3>().0.iter().enumerate() {
                    let at = (index as u32 % size.0, index as u32 / size.0);
                    let (x, y) = source(exif, at, (width, height));
                    let expected = &pixels[(y * width + x) as usize * 3..][..3];
                    assert_eq!(
                        pixel, expected,
                        "{orientation:?} of {width}x{height} at {at:?}"
                    );
                }
            }
        }
    }

    /// EXIF data with entries `(tag, type, count, value)`.
    fn exif(is_big_endian: bool, entries: &[(u16, u16, u32, u16)]) -> Vec<u8> {
        let u16 = |value: u16| match is_big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let u32 = |value: u32| match is_big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let mut bytes = match is_big_endian {
            true => b"MM\0*".to_vec(),
            false => b"II*\0".to_vec(),
        };
        bytes.extend(u32(8));
        bytes.extend(u16(entries.len() as u16));
        for &(tag, kind, count, value) in entries {
            bytes.extend([u16(tag), u16(kind)].concat());
            bytes.extend(u32(count));
            bytes.extend([u16(value), u16(0)].concat());
        }
        bytes
    }

    #[test]
    fn reads_the_orientation_of_both_byte_orders() {
        for is_big_endian in [false, true] {
            let read = |entries: &[_]| Orientation::from_exif_data(&exif(is_big_endian, entries));
            let maker = (0x10F, 2, 4, 0);
            assert_eq!(
                read(&[maker, (0x112, 3, 1, 6)]),
                Some(Orientation::Rotate90)
            );
            assert_eq!(read(&[maker]), None);
            for invalid in [0, 9, 0x106] {
                assert_eq!(read(&[(0x112, 3, 1, invalid)]), None, "{invalid}");
            }
            // A number of another type or count is not an orientation.
            assert_eq!(read(&[(0x112, 4, 1, 6), (0x112, 3, 2, 6)]), None);
            let whole = exif(is_big_endian, &[maker, (0x112, 3, 1, 8)]);
            for length in 0..whole.len() {
                assert_eq!(
                    Orientation::from_exif_data(&whole[..length]),
                    None,
                    "{length}"
                );
            }
        }
    }
}
