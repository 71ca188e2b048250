//! PNG decoding with the `png` crate.
use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use super::{DecodeOptions, check_size, corrupt, from_io, samples, truncated, unsupported};
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
    let memory = (u64::from(header.width) * 16).saturating_add(256 << 20);
    let limits = Limits {
        bytes: usize::try_from(memory).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    // Palettes and samples of less than 8 bits become samples of 8 bits.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(convert_error)?;
    let (color, depth) = reader.output_color_type();
    let size = reader.output_buffer_size();
    let mut buffer = vec![0; size.ok_or_else(|| convert_error(DecodingError::LimitsExceeded))?];
    reader.next_frame(&mut buffer).map_err(convert_error)?;
    let channels = color.samples();
    let pixels = match (color, depth) {
        (ColorType::Rgb, BitDepth::Eight) => buffer,
        (ColorType::Grayscale, BitDepth::Eight) => samples::gray_to_rgb(&buffer),
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => {
            samples::first_channel_to_rgb(&buffer, channels)
        }
        (ColorType::Rgba, BitDepth::Eight) => samples::first_three_channels(buffer, channels),
        // 16-bit grayscale may have a transparent value (tRNS), which the decoder converts to
        // alpha.
        (ColorType::Grayscale | ColorType::GrayscaleAlpha, BitDepth::Sixteen)
            if header.is_gray() =>
        {
            let first: Vec<u16> = samples::big_endian_u16(&buffer).step_by(channels).collect();
            drop(buffer);
            samples::gray16_to_rgb(&first, options)?
        }
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => {
            let first: Vec<u16> = samples::big_endian_u16(&buffer).step_by(channels).collect();
            drop(buffer);
            samples::gray_to_rgb(&samples::wide_to_bytes(&first, options)?)
        }
        (ColorType::Rgb | ColorType::Rgba, BitDepth::Sixteen) => {
            samples::big_endian_to_rgb(buffer, channels, options)?
        }
        (color, depth) => {
            let bits = depth as u8;
            return Err(unsupported(
                NAME,
                format!("{bits}-bit color type {color:?}"),
            ));
        }
    };
    RgbImage::new(header.width, header.height, pixels)
}

/// Converts an error of the `png` crate.
fn convert_error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) => from_io(NAME, &error),
        DecodingError::LimitsExceeded => unsupported(
            NAME,
            "decoding takes more memory than the image size allows",
        ),
        error => corrupt(NAME, error),
    }
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
