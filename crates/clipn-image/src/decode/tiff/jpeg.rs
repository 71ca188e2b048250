//! TIFF images with JPEG data: every strip or tile is a JPEG stream (TIFF Technical Note 2).
//!
//! The streams are decoded as libtiff does it with libjpeg, so that the pixels are those of Pillow.
use std::io::Cursor;

use tiff::decoder::Decoder;
use tiff::tags::Tag;

use super::chunks::{check_ranges, chunk_ranges};
use super::color::photometric;
use super::{NAME, convert_error};
use crate::decode::jpeg::{self, ColorSpace};
use crate::decode::{DecodeOptions, corrupt, truncated, unsupported};
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Start and end markers of a JPEG stream.
const SOI: &[u8] = &[0xFF, 0xD8];
const EOI: &[u8] = &[0xFF, 0xD9];

/// Pixels of a large tile, which may be outside of the image for the most part.
const PADDING: u64 = 2048 * 2048;

/// Decodes an image whose compression is JPEG.
pub(super) fn decode(
    bytes: &[u8],
    decoder: &mut Decoder<Cursor<&[u8]>>,
    photometric: u16,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let color = match photometric {
        photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO => ColorSpace::Grayscale,
        photometric::RGB => ColorSpace::Rgb,
        photometric::CMYK => ColorSpace::PlainCmyk,
        photometric::YCBCR => ColorSpace::YCbCr,
        other => {
            let feature = format!("JPEG data with photometric interpretation {other}");
            return Err(unsupported(NAME, feature));
        }
    };
    let is_planar = decoder
        .find_tag_unsigned::<u16>(Tag::PlanarConfiguration)
        .map_err(convert_error)?
        == Some(2);
    if is_planar && color != ColorSpace::Grayscale {
        return Err(unsupported(NAME, "JPEG data in separate planes"));
    }
    let tables = match decoder.find_tag(Tag::JPEGTables).map_err(convert_error)? {
        Some(tables) => tables.into_u8_vec().map_err(convert_error)?,
        None => Vec::new(),
    };
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    let (chunk_width, chunk_height) = decoder.chunk_dimensions();
    let across = width.div_ceil(chunk_width) as usize;
    let ranges = chunk_ranges(decoder)?;
    let sample_bytes = u64::from(width) * u64::from(height) * color.components() as u64;
    check_ranges(&ranges, tables.len(), bytes, sample_bytes)?;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    // Streams state their own sizes. The padding of tiles may be larger than the image.
    let mut budget = 4 * (u64::from(width) * u64::from(height) + PADDING);
    for (index, range) in ranges.into_iter().enumerate() {
        let stream = bytes.get(range).ok_or_else(|| truncated(NAME))?;
        let options = options.with_max_pixels(budget.min(options.max_pixels));
        let chunk = jpeg::decode_as(&with_tables(&tables, stream), color, &options)?;
        budget -= u64::from(chunk.width()) * u64::from(chunk.height());
        let (left, top) = (
            index % across * chunk_width as usize,
            (index / across).saturating_mul(chunk_height as usize),
        );
        let (wanted_width, wanted_height) = decoder.chunk_data_dimensions(index as u32);
        if chunk.width() < wanted_width || chunk.height() < wanted_height {
            return Err(corrupt(
                NAME,
                format!(
                    "JPEG data of {}x{} pixels, expected {wanted_width}x{wanted_height}",
                    chunk.width(),
                    chunk.height()
                ),
            ));
        }
        let length = wanted_width as usize * 3;
        let source = chunk.pixels().chunks_exact(chunk.width() as usize * 3);
        let rows = pixels.chunks_exact_mut(width as usize * 3).skip(top);
        for (row, source) in rows.zip(source).take(wanted_height as usize) {
            row[left * 3..][..length].copy_from_slice(&source[..length]);
        }
    }
    if photometric == photometric::WHITE_IS_ZERO {
        pixels.iter_mut().for_each(|value| *value = 255 - *value);
    }
    RgbImage::new(width, height, pixels)
}

/// Returns the stream with the shared tables in front.
fn with_tables(tables: &[u8], stream: &[u8]) -> Vec<u8> {
    let tables = tables.strip_suffix(EOI).unwrap_or(tables);
    let stream = match tables.is_empty() {
        true => stream,
        false => stream.strip_prefix(SOI).unwrap_or(stream),
    };
    [tables, stream].concat()
}
