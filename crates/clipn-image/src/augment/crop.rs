//! Random boxes, and the part of a picture in one.
use crate::error::ImageError;
use crate::preprocess::Preprocessing;
use crate::resample::{Axis, window};
use crate::rgb::RgbImage;

/// How often a random box is tried before the middle is taken, as in torchvision.
const TRIES: usize = 10;

/// A box within a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// torchvision's `RandomResizedCrop.get_params` (there in f32, here in f64): ten tries of a box with an area uniform in `scale` and a logarithm of
/// the aspect ratio uniform in that of `ratio`; when none fits, the largest middle box within `ratio`.
pub fn random_box(
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    draw: &mut dyn FnMut() -> f64,
) -> CropBox {
    box_that_fits(width, height, scale, ratio, draw)
        .unwrap_or_else(|| middle_box(width, height, ratio))
}

/// The first of ten random boxes that the picture has room for.
pub(super) fn box_that_fits(
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    draw: &mut dyn FnMut() -> f64,
) -> Option<CropBox> {
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let log_ratio = ratio.map(f64::ln);
    for _ in 0..TRIES {
        let area = full_width * full_height * between(scale, draw());
        let aspect = between(log_ratio, draw()).exp();
        let box_width = (area * aspect).sqrt().round_ties_even();
        let box_height = (area / aspect).sqrt().round_ties_even();
        if 0.0 < box_width
            && box_width <= full_width
            && 0.0 < box_height
            && box_height <= full_height
        {
            let (box_width, box_height) = (box_width as u32, box_height as u32);
            let top = place(height - box_height, draw());
            let left = place(width - box_width, draw());
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

/// The largest box within `ratio` in the middle of the picture.
fn middle_box(width: u32, height: u32, ratio: [f64; 2]) -> CropBox {
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let aspect = full_width / full_height;
    let side = |side: f64, most: u32| (side.round_ties_even() as u32).clamp(1, most);
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

pub(super) fn between([low, high]: [f64; 2], share: f64) -> f64 {
    low + (high - low) * share
}

/// One of the `spare + 1` places that a box can begin at.
fn place(spare: u32, share: f64) -> u32 {
    ((f64::from(spare) + 1.0) * share).min(f64::from(spare)) as u32
}

/// The box of the picture, cut out and resized to `size` x `size` with Pillow's bicubic, `[size, size, 3]`.
///
/// # Errors
/// [`ImageError::Preprocessing`] when the box does not lie in the picture or `size` is 0 or above 4096.
pub fn resized_crop(image: &RgbImage, taken: CropBox, size: usize) -> Result<RgbImage, ImageError> {
    let within = |first: u32, length: u32, side: u32| {
        length > 0 && first.checked_add(length).is_some_and(|end| end <= side)
    };
    let (width, height) = (image.width(), image.height());
    if !within(taken.left, taken.width, width) || !within(taken.top, taken.height, height) {
        let reason = format!("the box {taken:?} does not lie within {width}x{height}");
        return Err(ImageError::Preprocessing { reason });
    }
    Preprocessing::clip(size).check()?;
    let axis = |input: u32| Axis {
        input: input as usize,
        output: size as u64,
        offset: 0,
        length: size,
    };
    let row_bytes = image.width() as usize * 3;
    let rows =
        &image.pixels()[taken.top as usize * row_bytes..][..taken.height as usize * row_bytes];
    let pixels = if taken.width == image.width() {
        window(rows, axis(taken.width), axis(taken.height))
    } else {
        let (first, bytes) = (taken.left as usize * 3, taken.width as usize * 3);
        let mut cut = Vec::with_capacity(bytes * taken.height as usize);
        for row in rows.chunks_exact(row_bytes) {
            cut.extend_from_slice(&row[first..first + bytes]);
        }
        window(&cut, axis(taken.width), axis(taken.height))
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
    fn a_box_is_the_area_and_ratio_drawn() {
        // Area 0.95, ratio exp(0) = 1: sqrt(9500) = 97.47 a side; places 0 to 3.
        let taken = random_box(
            100,
            100,
            [0.9, 1.0],
            RATIO,
            &mut fixed(&[0.5, 0.5, 0.0, 0.99]),
        );
        assert_eq!(
            taken,
            CropBox {
                left: 3,
                top: 0,
                width: 97,
                height: 97
            }
        );
    }

    #[test]
    fn a_box_that_never_fits_becomes_the_middle_within_the_ratio() {
        let at = |width, height| random_box(width, height, [0.9, 1.0], RATIO, &mut fixed(&[0.9]));
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
