//! TIFF decoding with the `tiff` crate: the first image of the file.
mod directory;

use std::io::Cursor;

use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{DecodeOptions, check_size, corrupt, from_io, samples, unsupported};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "TIFF";

/// Photometric interpretation: 0 is black.
const BLACK_IS_ZERO: u16 = 1;

/// Photometric interpretation: palette color.
const PALETTE: u16 = 3;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    directory::check_tag_sizes(bytes)?;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(convert_error)?;
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    check_size(width, height, options)?;
    let pixels = u64::from(width) * u64::from(height);
    let mut decoder = decoder.with_limits(limits(pixels, bytes.len()));
    let photometric = decoder
        .find_tag_unsigned::<u16>(Tag::PhotometricInterpretation)
        .map_err(convert_error)?;
    if photometric == Some(PALETTE) {
        return decode_palette(bytes, &mut decoder, limits(pixels, bytes.len()));
    }
    let color = decoder.colortype().map_err(convert_error)?;
    let extra = decoder
        .find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)
        .map_err(convert_error)?
        .unwrap_or_default();
    let raster = Raster::read(&mut decoder, color.bit_depth())?;
    RgbImage::new(
        width,
        height,
        to_rgb(raster, color, extra.first() == Some(&1), options)?,
    )
}

/// Decodes a palette image.
///
/// The `tiff` crate does not support palettes, but indices are stored in the same way as grayscale.
/// The crate therefore decodes a copy of the file whose photometric interpretation is grayscale.
fn decode_palette(
    bytes: &[u8],
    decoder: &mut Decoder<Cursor<&[u8]>>,
    limits: Limits,
) -> Result<RgbImage, ImageError> {
    let color_map = decoder
        .find_tag_unsigned_vec::<u16>(Tag::ColorMap)
        .map_err(convert_error)?;
    let color_map = color_map.ok_or_else(|| corrupt(NAME, "palette image without a color map"))?;
    let position = directory::photometric_position(bytes);
    let position = position.ok_or_else(|| corrupt(NAME, "first directory is not at its offset"))?;
    let mut gray_file = bytes.to_vec();
    let value = match bytes.first() {
        Some(b'M') => BLACK_IS_ZERO.to_be_bytes(),
        _ => BLACK_IS_ZERO.to_le_bytes(),
    };
    gray_file[position..position + 2].copy_from_slice(&value);

    let mut decoder = Decoder::new(Cursor::new(gray_file.as_slice()))
        .map_err(convert_error)?
        .with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    let bits = decoder.colortype().map_err(convert_error)?.bit_depth();
    let raster = Raster::read(&mut decoder, bits)?;
    let Samples::Bytes(indices) = raster.samples else {
        return Err(unsupported(NAME, "palette with more than 256 colors"));
    };
    let indices: Vec<u8> = indices.into_iter().step_by(raster.channels).collect();
    // The color map has all reds, then all greens, then all blues, with 16 bits each.
    let count = color_map.len() / 3;
    let channel = |index: usize, channel: usize| (color_map[channel * count + index] >> 8) as u8;
    let palette: Vec<u8> = (0..count)
        .flat_map(|index| std::array::from_fn::<u8, 3, _>(|c| channel(index, c)))
        .collect();
    RgbImage::new(width, height, samples::palette_to_rgb(&indices, &palette))
}

/// Returns the memory limits for an image with `pixels` pixels in a file of `file_size` bytes.
fn limits(pixels: u64, file_size: usize) -> Limits {
    let mut limits = Limits::default();
    // Values of tags count as well: a color map is larger than a small image.
    let image_bytes = pixels.saturating_mul(16).saturating_add(1 << 20);
    limits.decoding_buffer_size = usize::try_from(image_bytes).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size.saturating_add(16 << 20);
    limits.ifd_value_size = file_size.max(1 << 20);
    limits
}

/// Samples of at most 8 bits, or of 16 bits.
enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

/// Samples of an image, interleaved by pixel.
struct Raster {
    samples: Samples,
    channels: usize,
}

impl Raster {
    fn read(decoder: &mut Decoder<Cursor<&[u8]>>, bits: u8) -> Result<Self, ImageError> {
        let (width, height) = decoder.dimensions().map_err(convert_error)?;
        let (width, height) = (width as usize, height as usize);
        let mut buffer = DecodingResult::U8(Vec::new());
        let layout = decoder
            .read_image_to_buffer(&mut buffer)
            .map_err(convert_error)?;
        if buffer.as_buffer(0).as_bytes().len() < layout.complete_len {
            return Err(corrupt(NAME, "planes do not fit into memory"));
        }
        let samples = match buffer {
            DecodingResult::U8(samples) if matches!(bits, 1 | 2 | 4) => {
                Samples::Bytes(unpack(&samples, width, bits))
            }
            DecodingResult::U8(samples) if bits == 8 => {
                Samples::Bytes(interleave_planes(samples, &layout, 1))
            }
            DecodingResult::U16(samples) if bits == 16 => {
                Samples::Words(interleave_planes(samples, &layout, 2))
            }
            _ => {
                return Err(unsupported(
                    NAME,
                    format!("expected integer samples of 1, 2, 4, 8 or 16 bits, got {bits} bits"),
                ));
            }
        };
        let length = match &samples {
            Samples::Bytes(samples) => samples.len(),
            Samples::Words(samples) => samples.len(),
        };
        let channels = length / (width * height);
        if channels == 0 || length % (width * height) != 0 {
            return Err(corrupt(
                NAME,
                format!("{length} samples do not match {width}x{height} pixels"),
            ));
        }
        Ok(Self { samples, channels })
    }
}

/// Unpacks samples to one byte each; every row starts at a byte boundary.
fn unpack(packed: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let row_bytes = (width * usize::from(bits)).div_ceil(8);
    packed
        .chunks_exact(row_bytes)
        .flat_map(|row| samples::unpack_row(row, width, bits))
        .collect()
}

/// Interleaves consecutive planes by pixel; `bytes` is the size of a sample.
fn interleave_planes<T: Copy>(
    samples: Vec<T>,
    layout: &BufferLayoutPreference,
    bytes: usize,
) -> Vec<T> {
    let stride = layout.plane_stride.map_or(0, |stride| stride.get()) / bytes;
    if layout.planes <= 1 || stride == 0 {
        return samples;
    }
    (0..stride)
        .flat_map(|index| samples[index..].iter().step_by(stride).take(layout.planes))
        .copied()
        .collect()
}

/// Converts the samples to RGB.
fn to_rgb(
    raster: Raster,
    color: ColorType,
    premultiplied: bool,
    options: &DecodeOptions,
) -> Result<Vec<u8>, ImageError> {
    let channels = raster.channels;
    let samples = match (raster.samples, color) {
        (Samples::Words(samples), ColorType::Gray(_)) => {
            return Ok(samples::gray16_to_rgb(
                samples.into_iter().step_by(channels),
                options,
            ));
        }
        (Samples::Words(samples), _) => samples::scale_16_to_8_bit(samples.into_iter()),
        (Samples::Bytes(samples), ColorType::Gray(bits @ (1 | 2 | 4))) => {
            let white = 255 / ((1u16 << bits) - 1) as u8;
            samples.into_iter().map(|sample| sample * white).collect()
        }
        (Samples::Bytes(samples), _) => samples,
    };
    match color {
        ColorType::Gray(_) | ColorType::GrayA(_) | ColorType::Multiband { .. } => {
            Ok(samples::first_channel_to_rgb(&samples, channels))
        }
        ColorType::RGB(_) if channels == 3 => Ok(samples),
        ColorType::RGBA(_) if channels >= 4 && premultiplied => {
            Ok(samples::premultiplied_to_rgb(&samples, channels))
        }
        ColorType::RGB(_) | ColorType::RGBA(_) if channels >= 3 => {
            Ok(samples::first_three_channels(&samples, channels))
        }
        ColorType::CMYK(_) if channels == 4 => Ok(samples::cmyk_to_rgb(&samples)),
        ColorType::YCbCr(_) if channels == 3 => {
            let pixels = samples.as_chunks::<3>().0;
            Ok(pixels
                .iter()
                .flat_map(|pixel| samples::ycbcr_to_rgb(*pixel))
                .collect())
        }
        other => Err(unsupported(NAME, format!("color type {other:?}"))),
    }
}

/// Converts an error of the `tiff` crate.
fn convert_error(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) => from_io(NAME, &error),
        TiffError::UnsupportedError(error) => unsupported(NAME, error),
        TiffError::LimitsExceeded => corrupt(NAME, "parts are larger than the image size allows"),
        error => corrupt(NAME, error),
    }
}
