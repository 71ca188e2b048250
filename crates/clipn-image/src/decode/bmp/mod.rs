//! BMP decoding: uncompressed pixels, bit masks and run lengths.
mod header;
mod run_length;

use self::header::{Header, Palette, PixelLayout};
use super::{DecodeOptions, check_size, samples, truncated};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "BMP";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let header = Header::read(bytes)?;
    check_size(header.width, header.height, options)?;
    let data = bytes.get(header.data_offset..).unwrap_or_default();
    let width = header.width as usize;
    let pixels = match &header.layout {
        PixelLayout::RunLength8(palette) => run_length::decode(data, &header, palette, false)?,
        PixelLayout::RunLength4(palette) => run_length::decode(data, &header, palette, true)?,
        PixelLayout::Indexed(palette) => convert_rows(data, &header, |row, out| {
            index_row(row, width, header.bits, palette, out);
        })?,
        PixelLayout::Bytes => convert_rows(data, &header, |row, out| {
            let stored = row.chunks_exact(usize::from(header.bits) / 8);
            for (out, pixel) in out.iter_mut().zip(stored) {
                *out = [pixel[2], pixel[1], pixel[0]];
            }
        })?,
        PixelLayout::Masked(channels) => convert_rows(data, &header, |row, out| {
            let stored = row.chunks_exact(usize::from(header.bits) / 8);
            for (out, pixel) in out.iter_mut().zip(stored) {
                let value = little_endian(pixel);
                *out = channels.each_ref().map(|channel| channel.sample(value));
            }
        })?,
    };
    RgbImage::new(header.width, header.height, pixels)
}

/// Reads a little-endian number of at most 4 bytes.
fn little_endian(field: &[u8]) -> u32 {
    let next = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
    field.iter().rev().fold(0, next)
}

/// Converts every row of an uncompressed image, and returns the pixels from top to bottom.
///
/// The padding of the last row may be missing, since some programs leave it out.
fn convert_rows(
    data: &[u8],
    header: &Header,
    convert: impl Fn(&[u8], &mut [[u8; 3]]),
) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (header.width as usize, header.height as usize);
    let row_bits = u64::from(header.width) * u64::from(header.bits);
    let row_bytes = row_bits.div_ceil(8) as usize;
    let stride = row_bytes.next_multiple_of(4);
    let last = stride.checked_mul(height - 1);
    if last.is_none_or(|last| data.len() < last.saturating_add(row_bytes)) {
        return Err(truncated(NAME));
    }
    let mut pixels = vec![0; width * height * 3];
    let (rows, _) = pixels.as_chunks_mut::<3>();
    for (y, out) in rows.chunks_exact_mut(width).enumerate() {
        let stored = if header.top_down { y } else { height - 1 - y };
        convert(&data[stored * stride..][..row_bytes], out);
    }
    Ok(pixels)
}

fn index_row(row: &[u8], width: usize, bits: u8, palette: &Palette, out: &mut [[u8; 3]]) {
    for (out, index) in out.iter_mut().zip(samples::unpack_row(row, width, bits)) {
        *out = palette[usize::from(index)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a 2 × 1 image of 24 bits with a changed number at an offset of the file.
    fn with(offset: usize, number: u32, length: usize) -> Result<RgbImage, ImageError> {
        let mut bytes = vec![0; 54];
        for (offset, number) in [(10, 54u32), (14, 40), (18, 2), (22, 1), (26, 1), (28, 24)] {
            bytes[offset..offset + 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes[28..30].copy_from_slice(&24u16.to_le_bytes());
        bytes[26..28].copy_from_slice(&1u16.to_le_bytes());
        bytes.extend([1, 2, 3, 4, 5, 6, 0, 0]);
        bytes[offset..offset + length].copy_from_slice(&number.to_le_bytes()[..length]);
        decode(&bytes, &DecodeOptions::faithful())
    }

    #[test]
    fn bytes_are_blue_green_red() {
        assert_eq!(with(0, 0, 0).unwrap().pixels(), [3, 2, 1, 6, 5, 4]);
    }

    #[test]
    fn errors_name_the_field() {
        for (offset, number, length, expected) in [
            (14, 11, 4, "corrupt BMP image: bitmap header of 11 bytes"),
            (
                14,
                64,
                4,
                "unsupported BMP image: bitmap header of 64 bytes",
            ),
            (18, u32::MAX - 4, 4, "corrupt BMP image: negative width -5"),
            (18, 0, 4, "image has no pixels (0x1)"),
            (22, 1 << 31, 4, "2x2147483648 image has 4294967296 pixels"),
            (26, 2, 2, "corrupt BMP image: expected 1 plane, got 2"),
            (28, 5, 2, "corrupt BMP image: 5 bits per pixel"),
            (30, 4, 4, "unsupported BMP image: JPEG compression"),
            (30, 5, 4, "unsupported BMP image: PNG compression"),
            (30, 12, 4, "unsupported BMP image: CMYK"),
            (30, 6, 4, "corrupt BMP image: unknown compression 6"),
            (10, 57, 4, "truncated BMP image"),
        ] {
            let error = with(offset, number, length).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
