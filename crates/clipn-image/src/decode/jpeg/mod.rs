//! JPEG: baseline, extended and progressive, Huffman-coded, of 8 bits.
//!
//! The published pixels were decoded by libjpeg-turbo, and no decoder in Rust gives the same ones (they are up to 4
//! levels off after the crop, most of all where chroma is enlarged). This one does: the same integer inverse
//! transform, the same "fancy" enlargement of chroma, the same fixed-point colours, the same reading of damaged data.
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
            true => damaged(NAME, "it has no frame header"),
            false => truncated(NAME),
        })?;
    frame.check()?;
    check_size(frame.width, frame.height, options)?;
    // Pillow refuses a file that ends before its end-of-image marker.
    if !headers.complete {
        return Err(truncated(NAME));
    }
    let planes = scan::decode(bytes, frame)?;
    let pixels = upsample::to_rgb(&planes, frame, headers.colours(frame));
    RgbImage::new(frame.width, frame.height, pixels)
}

/// The TIFF structure of the EXIF segment.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    Headers::read(bytes).exif
}
