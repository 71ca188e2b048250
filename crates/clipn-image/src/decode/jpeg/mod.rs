//! JPEG decoding: baseline, extended sequential and progressive DCT, Huffman and arithmetic coding,
//! 8-bit samples.
//!
//! Names follow [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf). The published pixels
//! were decoded with libjpeg-turbo, and no other decoder in Rust gives the same ones: they are up
//! to 4 levels off after the crop, most of all in upsampled chroma. This decoder does. It has the
//! same integer inverse DCT, "fancy" upsampling, fixed-point color conversion and handling of
//! corrupt data.
mod arithmetic;
mod component;
mod headers;
mod huffman;
mod huffman_blocks;
mod idct;
mod scan;
mod smoothing;
mod tables;
mod upsample;

pub(super) use headers::ColorSpace;
use headers::JpegHeaders;

use super::{DecodeOptions, check_size, corrupt, truncated, unsupported};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    decode_headers(bytes, None, options)
}

/// Decodes a stream inside another format, which determines the color space.
pub(super) fn decode_as(
    bytes: &[u8],
    color_space: ColorSpace,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    decode_headers(bytes, Some(color_space), options)
}

fn decode_headers(
    bytes: &[u8],
    color_space: Option<ColorSpace>,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let headers = JpegHeaders::read(bytes);
    let frame = headers.frame.as_ref().ok_or_else(|| {
        if headers.is_jpeg_ls {
            unsupported(NAME, "JPEG-LS")
        } else if headers.has_eoi {
            corrupt(NAME, "no frame header")
        } else {
            truncated(NAME)
        }
    })?;
    frame.validate()?;
    check_size(frame.width, frame.height, options)?;
    let color_space = color_space.unwrap_or_else(|| headers.color_space(frame));
    if frame.components.len() != color_space.components() {
        let (found, expected) = (frame.components.len(), color_space.components());
        let reason = format!("{found} components, expected {expected}");
        return Err(corrupt(NAME, reason));
    }
    // Some cameras write no end-of-image (EOI) marker. Arithmetic coding drops zeros at the end of a
    // scan, so that only the marker shows whether the data is whole.
    if !headers.has_eoi && frame.is_arithmetic() {
        return Err(truncated(NAME));
    }
    let components = scan::decode(bytes, frame, headers.has_eoi)?;
    let pixels = upsample::to_rgb(&components, frame, color_space);
    RgbImage::new(frame.width, frame.height, pixels)
}

/// Returns the TIFF structure of the EXIF segment (APP1), if there is one.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    JpegHeaders::read(bytes).exif
}

/// Returns the XMP of the last segment that has any.
pub(super) fn xmp(bytes: &[u8]) -> Option<&[u8]> {
    JpegHeaders::read(bytes).xmp
}
