//! The crop that training takes of a picture, another one each time.
use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::preprocess::Preprocessing;
use super::resample::{Axis, window};
use super::rgb::RgbImage;

/// How often a random box is tried before the middle is taken, as in torchvision.
const TRIES: usize = 10;

/// Which part of a picture is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum TrainingCrop {
    /// A random box, resized to the tower's size (torchvision's `RandomResizedCrop`).
    RandomResized {
        /// Least and greatest share of the picture's area.
        scale: [f64; 2],
        /// Least and greatest width / height.
        ratio: [f64; 2],
    },
    /// The crop of evaluation ([`Preprocessing::crop`]), always the same.
    Centre,
}

/// What is done to a picture before the tower learns from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// The part that is taken.
    pub crop: TrainingCrop,
    /// How likely the crop is mirrored left to right, 0 to 1.
    pub horizontal_flip: f64,
}

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

impl Augmentation {
    /// The published run's: a random box of 0.9 to 1 of the area, 3:4 to 4:3, never mirrored.
    pub const fn published() -> Self {
        let crop = TrainingCrop::RandomResized { scale: [0.9, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };
        Self { crop, horizontal_flip: 0.0 }
    }

    /// None: the crop of evaluation.
    pub const fn none() -> Self {
        Self { crop: TrainingCrop::Centre, horizontal_flip: 0.0 }
    }

    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] naming the setting.
    pub fn check(&self) -> Result<(), ImageError> {
        let refuse = |reason: String| Err(ImageError::Preprocessing { reason });
        if let TrainingCrop::RandomResized { scale, ratio } = self.crop {
            if !(0.0 < scale[0] && scale[0] <= scale[1] && scale[1] <= 1.0) {
                return refuse(format!("scale is {scale:?}, but must be two ascending shares in (0, 1]"));
            }
            if !(0.0 < ratio[0] && ratio[0] <= ratio[1] && ratio[1].is_finite()) {
                return refuse(format!("ratio is {ratio:?}, but must be two ascending numbers above 0"));
            }
        }
        if !(0.0..=1.0).contains(&self.horizontal_flip) {
            let flip = self.horizontal_flip;
            return refuse(format!("horizontal_flip is {flip}, but must be a probability from 0 to 1"));
        }
        Ok(())
    }

    /// The crop to train on, `[S, S, 3]` with S = `preprocessing.size`. `draw` gives uniform numbers in [0, 1): two a
    /// try and two for the place of the box, then one for the mirror where mirroring is on.
    ///
    /// The box is cut out and then resized with Pillow's bicubic, as torchvision does it: pixels outside the box have
    /// no influence.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] when a setting cannot be used.
    pub fn apply(
        &self,
        image: &RgbImage,
        preprocessing: &Preprocessing,
        draw: &mut dyn FnMut() -> f64,
    ) -> Result<RgbImage, ImageError> {
        self.check()?;
        let crop = match self.crop {
            TrainingCrop::Centre => preprocessing.crop(image)?,
            TrainingCrop::RandomResized { scale, ratio } => {
                preprocessing.check()?;
                let taken = random_box(image.width(), image.height(), scale, ratio, draw);
                let crop = resized_crop(image, taken, preprocessing.size)?;
                if preprocessing.grey { crop.to_grey() } else { crop }
            }
        };
        let mirrored = self.horizontal_flip > 0.0 && draw() < self.horizontal_flip;
        if mirrored { mirror(crop) } else { Ok(crop) }
    }
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::published()
    }
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
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let log_ratio = ratio.map(f64::ln);
    for _ in 0..TRIES {
        let area = full_width * full_height * between(scale, draw());
        let aspect = between(log_ratio, draw()).exp();
        let box_width = (area * aspect).sqrt().round_ties_even();
        let box_height = (area / aspect).sqrt().round_ties_even();
        if 0.0 < box_width && box_width <= full_width && 0.0 < box_height && box_height <= full_height {
            let (box_width, box_height) = (box_width as u32, box_height as u32);
            let top = place(height - box_height, draw());
            let left = place(width - box_width, draw());
            return CropBox { left, top, width: box_width, height: box_height };
        }
    }
    middle_box(width, height, ratio)
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

fn between([low, high]: [f64; 2], share: f64) -> f64 {
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
    let axis = |input: u32| Axis { input: input as usize, output: size as u64, offset: 0, length: size };
    let row_bytes = image.width() as usize * 3;
    let rows = &image.pixels()[taken.top as usize * row_bytes..][..taken.height as usize * row_bytes];
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

/// The picture mirrored left to right.
fn mirror(image: RgbImage) -> Result<RgbImage, ImageError> {
    let (width, height) = (image.width(), image.height());
    let mut pixels = image.into_pixels();
    for row in pixels.chunks_exact_mut(width as usize * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
    RgbImage::new(width, height, pixels)
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
        let taken = random_box(100, 100, [0.9, 1.0], RATIO, &mut fixed(&[0.5, 0.5, 0.0, 0.99]));
        assert_eq!(taken, CropBox { left: 3, top: 0, width: 97, height: 97 });
    }

    #[test]
    fn a_box_that_never_fits_becomes_the_middle_within_the_ratio() {
        let at = |width, height| random_box(width, height, [0.9, 1.0], RATIO, &mut fixed(&[0.9]));
        assert_eq!(at(400, 100), CropBox { left: 133, top: 0, width: 133, height: 100 });
        assert_eq!(at(100, 400), CropBox { left: 0, top: 133, width: 100, height: 133 });
        assert_eq!(at(100, 100), CropBox { left: 0, top: 0, width: 100, height: 100 });
        assert_eq!(at(1, 9000), CropBox { left: 0, top: 4499, width: 1, height: 1 });
    }

    #[test]
    fn mirroring_reverses_rows() {
        let image = RgbImage::new(2, 2, vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).unwrap();
        let settings = Augmentation { horizontal_flip: 1.0, ..Augmentation::none() };
        let turned = settings.apply(&image, &Preprocessing::clip(2), &mut fixed(&[0.5])).unwrap();
        assert_eq!(turned.pixels(), [2, 2, 2, 1, 1, 1, 4, 4, 4, 3, 3, 3]);
    }
}
