//! BMP decoding with the `image` crate.
use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::bmp::BmpDecoder;

use super::{DecodeOptions, check_size, corrupt, from_image_crate, samples};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "BMP";

/// Compression `BI_RGB`: none.
const BI_RGB: u32 = 0;

/// Compression `BI_BITFIELDS`: bit masks define the channels.
const BI_BITFIELDS: u32 = 3;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    match decode_padded(bytes, options) {
        // Some programs leave out the padding of the last row, which has no pixels.
        Err(ImageError::Truncated { .. }) if row_padding(bytes) > 0 => {
            decode_padded(&[bytes, &[0; 3][..row_padding(bytes)]].concat(), options)
        }
        decoded => decoded,
    }
}

/// Number of bytes, 0 to 3, that fill a row of an uncompressed image to a multiple of 4.
fn row_padding(bytes: &[u8]) -> usize {
    if number(bytes, 14, 4) == 12 || !matches!(number(bytes, 30, 4), BI_RGB | BI_BITFIELDS) {
        return 0;
    }
    let bits = u64::from(number(bytes, 18, 4)) * u64::from(number(bytes, 28, 2));
    (bits.div_ceil(8).wrapping_neg() % 4) as usize
}

fn decode_padded(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let convert_error = |error| from_image_crate(NAME, error);
    let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(convert_error)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, options)?;
    let channels = usize::from(decoder.color_type().channel_count());
    let mut buffer =
        vec![0; usize::try_from(decoder.total_bytes()).map_err(|error| corrupt(NAME, error))?];
    decoder.read_image(&mut buffer).map_err(convert_error)?;
    if number(bytes, 28, 2) == 16 {
        let green_bits = if number(bytes, 30, 4) == BI_BITFIELDS && number(bytes, 58, 4) == 0x7E0 {
            6
        } else {
            5
        };
        truncate_scaling(&mut buffer, channels, green_bits);
    }
    let pixels = if channels == 3 {
        buffer
    } else {
        samples::first_three_channels(&buffer, channels)
    };
    RgbImage::new(width, height, pixels)
}

/// Reads a little-endian number of the header; 0 if the file ends before it.
fn number(bytes: &[u8], offset: usize, length: usize) -> u32 {
    let field = bytes.get(offset..offset + length).unwrap_or_default();
    field
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Converts scaled samples from the decoder's rounding to Pillow's truncation, for channels of 5
/// and 6 bits scaled to 8.
fn truncate_scaling(samples: &mut [u8], channels: usize, green_bits: u32) {
    let table = |bits: u32| {
        let mut table: [u8; 256] = std::array::from_fn(|value| value as u8);
        let levels = (1u32 << bits) - 1;
        for level in 0..=levels {
            let rounded = (2 * level * 255 + levels) / (2 * levels);
            table[rounded as usize] = (level * 255 / levels) as u8;
        }
        table
    };
    let tables = [table(5), table(green_bits), table(5)];
    for pixel in samples.chunks_exact_mut(channels) {
        for (sample, table) in pixel.iter_mut().zip(&tables) {
            *sample = table[usize::from(*sample)];
        }
    }
}
