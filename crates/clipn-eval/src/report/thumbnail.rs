//! Thumbnails of images as `data:` URIs.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use clipn_image::{DecodeOptions, RgbImage, decode_bytes, decode_file};

use super::jpeg;

/// Maximum side of images that are embedded unscaled and without loss.
const SMALL: u32 = 64;

/// JPEG quality of larger images.
const QUALITY: u16 = 82;

/// Thumbnail of an image.
#[derive(Debug, Clone)]
pub(super) struct Thumbnail {
    pub(super) uri: String,
    /// Width and height in pixels.
    pub(super) size: [u32; 2],
    /// Whether the pixels should stay visible when it is scaled up, because it has so few.
    pub(super) pixelated: bool,
}

/// Reads an image and scales its long side down to `side`. Returns `None` for an unreadable image,
/// which must not fail the report.
pub(super) fn create(path: &Path, decode: &DecodeOptions, side: u32) -> Option<Thumbnail> {
    scaled_down(decode_file(path, decode).ok()?, side)
}

/// Same as [`create`] for the bytes of an image.
pub(super) fn create_from_bytes(
    bytes: &[u8],
    decode: &DecodeOptions,
    side: u32,
) -> Option<Thumbnail> {
    scaled_down(decode_bytes(bytes, decode).ok()?, side)
}

fn scaled_down(decoded: RgbImage, side: u32) -> Option<Thumbnail> {
    let long = decoded.width().max(decoded.height());
    if long <= SMALL.min(side) {
        let png = decoded.to_png().ok()?;
        return Some(Thumbnail {
            uri: format!("data:image/png;base64,{}", BASE64.encode(&png)),
            size: [decoded.width(), decoded.height()],
            pixelated: true,
        });
    }
    // JPEG has 16 bits for a side.
    let image = scale(decoded, side.clamp(1, u32::from(u16::MAX)))?;
    let (width, height) = (image.width() as u16, image.height() as u16);
    let jpeg = jpeg::encode(width, height, image.pixels().as_chunks().0, QUALITY);
    Some(Thumbnail {
        uri: format!("data:image/jpeg;base64,{}", BASE64.encode(&jpeg)),
        size: [image.width(), image.height()],
        pixelated: false,
    })
}

/// Scales the long side of an image down to `side`.
fn scale(image: RgbImage, side: u32) -> Option<RgbImage> {
    let (width, height) = (image.width(), image.height());
    let long = width.max(height);
    if long <= side {
        return Some(image);
    }
    let scaled = |length: u32| {
        let rounded = (u64::from(length) * u64::from(side) + u64::from(long) / 2) / u64::from(long);
        rounded.max(1) as u32
    };
    image.resized(scaled(width), scaled(height)).ok()
}
