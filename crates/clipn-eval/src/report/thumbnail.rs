//! Thumbnails of images as `data:` URIs.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::{FilterType, resize, thumbnail};
use image::{ExtendedColorType, ImageEncoder, RgbImage as Pixels};

use clipn_image::{DecodeOptions, RgbImage, decode_bytes, decode_file};

/// Maximum side of images that are embedded unscaled and without loss.
const SMALL: u32 = 64;

/// JPEG quality of larger images.
const QUALITY: u8 = 82;

/// Thumbnail of an image.
#[derive(Debug, Clone)]
pub(super) struct Thumbnail {
    pub(super) uri: String,
    /// Whether the pixels should stay visible when it is scaled up, because it has so few.
    pub(super) pixelated: bool,
}

/// Reads an image and scales its long side down to `side`. Returns `None` for an unreadable image,
/// which must not fail the report.
pub(super) fn create(path: &Path, side: u32) -> Option<Thumbnail> {
    scaled_down(decode_file(path, &DecodeOptions::for_display()).ok()?, side)
}

/// Same as [`create`] for the bytes of an image.
pub(super) fn create_from_bytes(bytes: &[u8], side: u32) -> Option<Thumbnail> {
    scaled_down(
        decode_bytes(bytes, &DecodeOptions::for_display()).ok()?,
        side,
    )
}

fn scaled_down(decoded: RgbImage, side: u32) -> Option<Thumbnail> {
    let (width, height) = (decoded.width(), decoded.height());
    let pixels = Pixels::from_raw(width, height, decoded.into_pixels())?;
    let long = width.max(height);
    if long <= SMALL.min(side) {
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
            .ok()?;
        let uri = format!("data:image/png;base64,{}", BASE64.encode(&png));
        return Some(Thumbnail {
            uri,
            pixelated: true,
        });
    }
    let scaled = scale(pixels, side.max(1));
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .write_image(
            &scaled,
            scaled.width(),
            scaled.height(),
            ExtendedColorType::Rgb8,
        )
        .ok()?;
    let uri = format!("data:image/jpeg;base64,{}", BASE64.encode(&jpeg));
    Some(Thumbnail {
        uri,
        pixelated: false,
    })
}

fn scale(pixels: Pixels, side: u32) -> Pixels {
    let (width, height) = pixels.dimensions();
    let long = width.max(height);
    if long <= side {
        return pixels;
    }
    let scaled = |length: u32| {
        ((u64::from(length) * u64::from(side) + u64::from(long) / 2) / u64::from(long)).max(1)
            as u32
    };
    let (new_width, new_height) = (scaled(width), scaled(height));
    // For a very large image, a cheap average first, then the good filter on the rest.
    let halfway =
        (long > 8 * side).then(|| thumbnail(&pixels, scaled(width) * 4, scaled(height) * 4));
    resize(
        halfway.as_ref().unwrap_or(&pixels),
        new_width,
        new_height,
        FilterType::CatmullRom,
    )
}
