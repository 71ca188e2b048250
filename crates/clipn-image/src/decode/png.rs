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

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
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
