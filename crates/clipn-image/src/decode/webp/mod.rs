//! WebP decoding with the `image` crate; only the first frame of an animation.
mod frames;

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::webp::WebPDecoder;

use super::{DecodeOptions, check_size, damaged, from_image_crate, samples};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "WebP";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let failed = |error| from_image_crate(NAME, error);
    let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, options)?;
    frames::check(bytes, (width, height))?;
    let channels = usize::from(decoder.color_type().channel_count());
    let mut buffer =
        vec![0; usize::try_from(decoder.total_bytes()).map_err(|error| damaged(NAME, error))?];
    decoder.read_image(&mut buffer).map_err(failed)?;
    let pixels = if channels == 3 {
        buffer
    } else {
        samples::first_three_channels(&buffer, channels)
    };
    RgbImage::new(width, height, pixels)
}
