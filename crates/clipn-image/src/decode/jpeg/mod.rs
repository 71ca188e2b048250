//! JPEG decoding: baseline, extended sequential and progressive DCT, Huffman coding, 8-bit samples.
//!
//! Names follow [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf). The published pixels
//! were decoded with libjpeg-turbo, and no other decoder in Rust gives the same ones: they are up
//! to 4 levels off after the crop, most of all in upsampled chroma. This decoder does. It has the
//! same integer inverse DCT, "fancy" upsampling, fixed-point color conversion and handling of
//! corrupt data.
mod headers;
mod huffman;
mod idct;
mod planes;
mod scan;
mod upsample;

use headers::Headers;

use super::{DecodeOptions, check_size, damaged, truncated, unsupported};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let headers = Headers::read(bytes);
    let frame = headers
        .frame
        .as_ref()
        .ok_or_else(|| match headers.complete {
            true => damaged(NAME, "no frame header"),
            false => truncated(NAME),
        })?;
    frame.check()?;
    check_size(frame.width, frame.height, options)?;
    // Pillow rejects a file without an end-of-image (EOI) marker.
    if !headers.complete {
        return Err(truncated(NAME));
    }
    let planes = scan::decode(bytes, frame)?;
    let pixels = upsample::to_rgb(&planes, frame, headers.colours(frame));
    RgbImage::new(frame.width, frame.height, pixels)
}

/// Returns the TIFF structure of the EXIF segment (APP1), if there is one.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    Headers::read(bytes).exif
}
