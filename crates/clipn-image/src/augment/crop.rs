//! Random crop boxes and resized crops.
use crate::error::ImageError;
use crate::preprocess::Preprocessing;
use crate::resample::{AxisResampling, Filter, PassOrder, resample_window};
use crate::rgb::RgbImage;

/// Number of random boxes tried before the fallback to a center crop, as in torchvision.
const TRIES: usize = 10;

/// Rectangle within an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First column, from 0.
    pub left: u32,
    /// First row, from 0.
    pub top: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

/// Draws a random crop box, as torchvision's `RandomResizedCrop.get_params` does (in f64 instead of
/// f32).
///
/// Tries up to ten boxes. The area is a fraction of the image's area uniform in `scale`; the
/// logarithm of the aspect ratio is uniform in the logarithms of `ratio`. If no box fits, returns
/// the largest center box with an aspect ratio within `ratio`. `uniform` returns uniform random
/// numbers in [0, 1).
pub fn random_crop_box(
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    uniform: &mut dyn FnMut() -> f64,
) -> CropBox {
    try_random_box(width, height, scale, ratio, uniform)
        .unwrap_or_else(|| center_box(width, height, ratio))
}

/// Returns the first of ten random boxes that fits into the image.
pub(super) fn try_random_box(
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    uniform: &mut dyn FnMut() -> f64,
) -> Option<CropBox> {
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let log_ratio = ratio.map(f64::ln);
    for _ in 0..TRIES {
        let area = full_width * full_height * lerp_range(scale, uniform());
        let aspect = lerp_range(log_ratio, uniform()).exp();
        let box_width = (area * aspect).sqrt().round_ties_even();
        let box_height = (area / aspect).sqrt().round_ties_even();
        if 0.0 < box_width
            && box_width <= full_width
            && 0.0 < box_height
            && box_height <= full_height
        {
            let (box_width, box_height) = (box_width as u32, box_height as u32);
            let top = random_offset(height - box_height, uniform());
            let left = random_offset(width - box_width, uniform());
            return Some(CropBox {
                left,
                top,
                width: box_width,
                height: box_height,
            });
        }
    }
    None
}

/// Returns the largest center box with an aspect ratio within `ratio`.
fn center_box(width: u32, height: u32, ratio: [f64; 2]) -> CropBox {
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let aspect = full_width / full_height;
    let side = |side: f64, max: u32| (side.round_ties_even() as u32).clamp(1, max);
    let (box_width, box_height) = if aspect < ratio[0] {
        (width, side(full_width / ratio[0], height))
    } else if aspect > ratio[1] {
        (side(full_height * ratio[1], width), height)
    } else {
        (width, height)
    };
    CropBox {
        left: (width - box_width) / 2,
        top: (height - box_height) / 2,
        width: box_width,
        height: box_height,
    }
}

/// Maps `uniform` in [0, 1) linearly to [low, high).
pub(super) fn lerp_range([low, high]: [f64; 2], uniform: f64) -> f64 {
    low + (high - low) * uniform
}

/// Maps `uniform` in [0, 1) to an offset of the box, 0 to `max_offset`.
fn random_offset(max_offset: u32, uniform: f64) -> u32 {
    ((f64::from(max_offset) + 1.0) * uniform).min(f64::from(max_offset)) as u32
}

/// Crops `crop_box` from the image and resizes it to `[size, size, 3]` with Pillow's bicubic
/// filter.
///
/// # Errors
/// [`ImageError::InvalidSetting`] if the box is empty or not within the image, or if `size` is not
/// in 1 to 4096.
pub fn resized_crop(
    image: &RgbImage,
    crop_box: CropBox,
    size: usize,
) -> Result<RgbImage, ImageError> {
    let within = |first: u32, length: u32, side: u32| {
        length > 0 && first.checked_add(length).is_some_and(|end| end <= side)
    };
    let (width, height) = (image.width(), image.height());
    if !within(crop_box.left, crop_box.width, width)
        || !within(crop_box.top, crop_box.height, height)
    {
        return Err(ImageError::InvalidSetting {
            setting: "crop_box",
            reason: format!("expected a box within {width}x{height}, got {crop_box:?}"),
        });
    }
    Preprocessing::clip(size).validate()?;
    let axis = |input: u32| AxisResampling {
        input_len: input as usize,
        output_len: size as u64,
        window_start: 0,
        window_len: size,
        filter: Filter::Bicubic,
    };
    let row_bytes = image.width() as usize * 3;
    let rows = &image.pixels()[crop_box.top as usize * row_bytes..]
        [..crop_box.height as usize * row_bytes];
    let resize = |pixels: &[u8]| {
        let (horizontal, vertical) = (axis(crop_box.width), axis(crop_box.height));
        resample_window(pixels, horizontal, vertical, PassOrder::HorizontalFirst)
    };
    let pixels = if crop_box.width == image.width() {
        resize(rows)
    } else {
        let (first, bytes) = (crop_box.left as usize * 3, crop_box.width as usize * 3);
        let mut cropped = Vec::with_capacity(bytes * crop_box.height as usize);
        for row in rows.chunks_exact(row_bytes) {
            cropped.extend_from_slice(&row[first..first + bytes]);
        }
        resize(&cropped)
    };
    RgbImage::new(size as u32, size as u32, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(numbers: &[f64]) -> impl FnMut() -> f64 {
        let mut numbers = numbers.iter().copied().cycle();
        move || numbers.next().unwrap()
    }

    const RATIO: [f64; 2] = [0.75, 4.0 / 3.0];

    #[test]
    fn boxes_have_the_drawn_area_and_aspect_ratio() {
        // Area 0.95, aspect ratio exp(0) = 1: side sqrt(9500) = 97.47, offsets 0 to 3.
        let crop_box = random_crop_box(
            100,
            100,
            [0.9, 1.0],
            RATIO,
            &mut fixed(&[0.5, 0.5, 0.0, 0.99]),
        );
        assert_eq!(
            crop_box,
            CropBox {
                left: 3,
                top: 0,
                width: 97,
                height: 97
            }
        );
    }

    #[test]
    fn falls_back_to_a_center_box_within_the_aspect_ratio() {
        let at =
            |width, height| random_crop_box(width, height, [0.9, 1.0], RATIO, &mut fixed(&[0.9]));
        assert_eq!(
            at(400, 100),
            CropBox {
                left: 133,
                top: 0,
                width: 133,
                height: 100
            }
        );
        assert_eq!(
            at(100, 400),
            CropBox {
                left: 0,
                top: 133,
                width: 100,
                height: 133
            }
        );
        assert_eq!(
            at(100, 100),
            CropBox {
                left: 0,
                top: 0,
                width: 100,
                height: 100
            }
        );
        assert_eq!(
            at(1, 9000),
            CropBox {
                left: 0,
                top: 4499,
                width: 1,
                height: 1
            }
        );
    }
}
