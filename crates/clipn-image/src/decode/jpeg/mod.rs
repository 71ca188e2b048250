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

use headers::JpegHeaders;

use super::{DecodeOptions, check_size, corrupt, truncated, unsupported};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let headers = JpegHeaders::read(bytes);
    let frame = headers.frame.as_ref().ok_or_else(|| {
        if headers.has_eoi {
            corrupt(NAME, "no frame header")
        } else {
            truncated(NAME)
        }
    })?;
    frame.validate()?;
    check_size(frame.width, frame.height, options)?;
    // Some cameras write no end-of-image (EOI) marker. Arithmetic coding drops zeros at the end of a
    // scan, so that only the marker shows whether the data is whole.
    if !headers.has_eoi && frame.is_arithmetic() {
        return Err(truncated(NAME));
    }
    let components = scan::decode(bytes, frame, headers.has_eoi)?;
    let pixels = upsample::to_rgb(&components, frame, headers.color_space(frame));
    RgbImage::new(frame.width, frame.height, pixels)
}

/// Returns the TIFF structure of the EXIF segment (APP1), if there is one.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    JpegHeaders::read(bytes).exif
}
