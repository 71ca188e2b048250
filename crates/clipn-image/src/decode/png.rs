//! PNG decoding with the `image` crate.
use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, Limits};

use super::{
    DecodeOptions, check_size, corrupt, from_image_crate, samples, truncated, unsupported,
};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "PNG";

/// The end chunk: length, name and checksum.
const END: &[u8; 12] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    match decode_closed(bytes, options) {
        Err(ImageError::Truncated { .. }) => {
            let closed = with_end(bytes).ok_or_else(|| truncated(NAME))?;
            // Whatever the decoder misses now was cut off.
            decode_closed(&closed, options).map_err(|_| truncated(NAME))
        }
        decoded => decoded,
    }
}

/// Returns the file with an end chunk, if it has pixel data but was cut before its end. A data
/// chunk that was cut is closed, so that the decoder finds out whether its pixels are all there.
fn with_end(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut position, mut has_data) = (8, false);
    let mut cut_data = None;
    while let Some((header, rest)) = bytes
        .get(position..)
        .and_then(<[u8]>::split_first_chunk::<8>)
    {
        let [length @ .., _, _, _, _] = header;
        let length = u32::from_be_bytes(*length) as usize;
        let is_data = header.ends_with(b"IDAT");
        if rest.len() < length.saturating_add(4) {
            cut_data = is_data.then(|| &rest[..length.min(rest.len())]);
            break;
        }
        if header.ends_with(b"IEND") {
            return None;
        }
        has_data |= is_data;
        position += 8 + length + 4;
    }
    if !has_data && cut_data.is_none() {
        return None;
    }
    let mut closed = bytes[..position.min(bytes.len())].to_vec();
    if let Some(data) = cut_data {
        let start = closed.len() + 4;
        closed.extend_from_slice(&(data.len() as u32).to_be_bytes());
        closed.extend_from_slice(b"IDAT");
        closed.extend_from_slice(data);
        let checksum = crc32(&closed[start..]);
        closed.extend_from_slice(&checksum.to_be_bytes());
    }
    closed.extend_from_slice(END);
    Some(closed)
}

/// Computes the checksum of a chunk: CRC-32 of its name and data.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn decode_closed(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let header = Header::read(bytes)?;
    check_size(header.width, header.height, options)?;
    let convert_error = |error| from_image_crate(NAME, error);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some((u64::from(header.width) * 16).saturating_add(256 << 20));
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(convert_error)?;
    let color = decoder.color_type();
    let mut buffer =
        vec![0; usize::try_from(decoder.total_bytes()).map_err(|error| corrupt(NAME, error))?];
    decoder.read_image(&mut buffer).map_err(convert_error)?;
    let channels = usize::from(color.channel_count());
    let pixels = match color {
        ColorType::Rgb8 => buffer,
        ColorType::L8 => samples::gray_to_rgb(&buffer),
        ColorType::La8 => samples::first_channel_to_rgb(&buffer, channels),
        ColorType::Rgba8 => samples::first_three_channels(&buffer, channels),
        // 16-bit grayscale may have a transparent value (tRNS), which the decoder converts to
        // alpha.
        ColorType::L16 | ColorType::La16 if header.is_gray() => samples::gray16_to_rgb(
            samples::native_endian_u16(&buffer).step_by(channels),
            options,
        ),
        ColorType::La16 => samples::first_channel_to_rgb(
            &samples::scale_16_to_8_bit(samples::native_endian_u16(&buffer)),
            channels,
        ),
        ColorType::Rgb16 | ColorType::Rgba16 => samples::first_three_channels(
            &samples::scale_16_to_8_bit(samples::native_endian_u16(&buffer)),
            channels,
        ),
        other => return Err(unsupported(NAME, format!("color type {other:?}"))),
    };
    RgbImage::new(header.width, header.height, pixels)
}

/// Fields of the IHDR chunk.
struct Header {
    width: u32,
    height: u32,
    color_type: u8,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let header = bytes.get(8..29).ok_or_else(|| truncated(NAME))?;
        let (name, fields) = (&header[4..8], &header[8..]);
        if name != b"IHDR" {
            return Err(corrupt(NAME, "first chunk is not IHDR"));
        }
        let number = |offset: usize| {
            fields[offset..offset + 4]
                .iter()
                .fold(0, |value, byte| value << 8 | u32::from(*byte))
        };
        Ok(Self {
            width: number(0),
            height: number(4),
            color_type: fields[9],
        })
    }

    fn is_gray(&self) -> bool {
        self.color_type == 0
    }
}
