//! Random augmentation of training images: crop, horizontal flip, color jitter, grayscale and
//! erasing.
mod color_jitter;
mod crop;
mod random_erasing;

use serde::{Deserialize, Serialize};

pub use self::color_jitter::ColorJitter;
pub use self::crop::{CropBox, random_crop_box, resized_crop};
use self::random_erasing::random_erasing;
use crate::error::ImageError;
use crate::preprocess::Preprocessing;
use crate::rgb::RgbImage;

/// Crop of a training image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TrainingCrop {
    /// A random box, resized to the image size of the tower (torchvision's `RandomResizedCrop`).
    RandomResized {
        /// Minimum and maximum fraction of the image's area, in (0, 1].
        scale: [f64; 2],
        /// Minimum and maximum aspect ratio, width / height; above 0.
        ratio: [f64; 2],
    },
    /// The deterministic crop of evaluation, [`Preprocessing::crop`].
    #[serde(rename = "Centre", alias = "Center")]
    Center,
}

/// Random augmentation of a training image.
///
/// ```
/// use clipn_image::{Augmentation, Preprocessing, RgbImage};
///
/// let augmentation = Augmentation { horizontal_flip: 0.5, ..Augmentation::published() };
/// let image = RgbImage::new(40, 30, vec![128; 40 * 30 * 3])?;
/// // Any source of uniform random numbers in [0, 1).
/// let mut state = 1u32;
/// let mut uniform = || {
///     state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
///     f64::from(state) / 2f64.powi(32)
/// };
/// let crop = augmentation.apply(&image, &Preprocessing::clip(32), &mut uniform)?;
/// assert_eq!((crop.width(), crop.height()), (32, 32));
/// # Ok::<(), clipn_image::ImageError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Crop of the image.
    pub crop: TrainingCrop,
    /// Probability of a horizontal flip, 0 to 1.
    pub horizontal_flip: f64,
    /// Random brightness, contrast and saturation; off by default.
    #[serde(rename = "colour_jitter", alias = "color_jitter", default)]
    pub color_jitter: Option<ColorJitter>,
    /// Probability of a conversion to grayscale, 0 to 1; 0 by default.
    #[serde(rename = "greyscale", alias = "grayscale", default)]
    pub grayscale: f64,
    /// Probability that a box of 2 to 33 % of the crop is filled with CLIP's mean color, 0 to 1
    /// (torchvision's `RandomErasing`); 0 by default.
    #[serde(default)]
    pub erasing: f64,
}

impl Augmentation {
    /// Returns the augmentation of the published run: a random box with 0.9 to 1 of the area and an
    /// aspect ratio of 3:4 to 4:3, without flips.
    pub const fn published() -> Self {
        let crop = TrainingCrop::RandomResized {
            scale: [0.9, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
        };
        Self {
            crop,
            ..Self::none()
        }
    }

    /// Returns no augmentation: the crop of evaluation.
    pub const fn none() -> Self {
        Self {
            crop: TrainingCrop::Center,
            horizontal_flip: 0.0,
            color_jitter: None,
            grayscale: 0.0,
            erasing: 0.0,
        }
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// [`ImageError::InvalidSetting`] that names the first invalid setting.
    pub fn validate(&self) -> Result<(), ImageError> {
        let invalid = |setting, reason| Err(ImageError::InvalidSetting { setting, reason });
        if let TrainingCrop::RandomResized { scale, ratio } = self.crop {
            if !(0.0 < scale[0] && scale[0] <= scale[1] && scale[1] <= 1.0) {
                let reason = format!("expected two ascending fractions in (0, 1], got {scale:?}");
                return invalid("scale", reason);
            }
            if !(0.0 < ratio[0] && ratio[0] <= ratio[1] && ratio[1].is_finite()) {
                let reason =
                    format!("expected two ascending finite numbers above 0, got {ratio:?}");
                return invalid("ratio", reason);
            }
        }
        let probabilities = [
            ("horizontal_flip", self.horizontal_flip),
            ("greyscale", self.grayscale),
            ("erasing", self.erasing),
        ];
        if let Some((name, probability)) = probabilities
            .iter()
            .find(|(_, probability)| !(0.0..=1.0).contains(probability))
        {
            let reason = format!("expected a probability from 0 to 1, got {probability}");
            return invalid(name, reason);
        }
        self.color_jitter.map_or(Ok(()), |jitter| jitter.validate())
    }

    /// Returns the augmented crop, `[S, S, 3]` with S = `preprocessing.size`.
    ///
    /// `uniform` returns uniform random numbers in [0, 1). The random crop draws two numbers per
    /// tried box and two for its position. The flip then draws one, the color jitter four, and
    /// grayscale one. Erasing draws one, and those of a random box if it applies. Disabled steps
    /// draw nothing.
    ///
    /// The box is cropped first and then resized with Pillow's bicubic filter, as in torchvision:
    /// pixels outside the box have no influence.
    ///
    /// # Errors
    /// [`ImageError::InvalidSetting`] if a setting is invalid.
    pub fn apply(
        &self,
        image: &RgbImage,
        preprocessing: &Preprocessing,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<RgbImage, ImageError> {
        self.validate()?;
        let crop = match self.crop {
            TrainingCrop::Center => preprocessing.crop(image)?,
            TrainingCrop::RandomResized { scale, ratio } => {
                preprocessing.validate()?;
                let crop_box =
                    random_crop_box(image.width(), image.height(), scale, ratio, uniform);
                let crop = resized_crop(image, crop_box, preprocessing.size)?;
                if preprocessing.gray {
                    crop.to_gray()
                } else {
                    crop
                }
            }
        };
        let applies = |probability: f64, uniform: &mut dyn FnMut() -> f64| {
            probability > 0.0 && uniform() < probability
        };
        let crop = if applies(self.horizontal_flip, uniform) {
            flip_horizontally(crop)?
        } else {
            crop
        };
        let crop = match self.color_jitter {
            Some(jitter) => jitter.apply(crop, uniform),
            None => crop,
        };
        let crop = if applies(self.grayscale, uniform) {
            crop.to_gray()
        } else {
            crop
        };
        if applies(self.erasing, uniform) {
            random_erasing(crop, uniform)
        } else {
            Ok(crop)
        }
    }
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::published()
    }
}

/// Flips the image horizontally.
fn flip_horizontally(image: RgbImage) -> Result<RgbImage, ImageError> {
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

    #[test]
    fn horizontal_flips_reverse_rows() {
        let image = RgbImage::new(2, 2, vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).unwrap();
        let settings = Augmentation {
            horizontal_flip: 1.0,
            ..Augmentation::none()
        };
        let flipped = settings
            .apply(&image, &Preprocessing::clip(2), &mut fixed(&[0.5]))
            .unwrap();
        assert_eq!(flipped.pixels(), [2, 2, 2, 1, 1, 1, 4, 4, 4, 3, 3, 3]);
    }
}
