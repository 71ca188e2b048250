//! Random augmentation of training images: crop, horizontal flip, color jitter, grayscale and
//! erasing.
mod colour;
mod crop;
mod erase;

pub use colour::ColorJitter;
pub use crop::{CropBox, random_crop_box, resized_crop};

use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::preprocess::Preprocessing;
use super::rgb::RgbImage;

/// Crop of a training image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum TrainingCrop {
    /// A random box, resized to the image size of the tower (torchvision's `RandomResizedCrop`).
    RandomResized {
        /// Minimum and maximum fraction of the image's area, in (0, 1].
        scale: [f64; 2],
        /// Minimum and maximum aspect ratio, width / height; above 0.
        ratio: [f64; 2],
    },
    /// The deterministic crop of evaluation, [`Preprocessing::crop`].
    Centre,
}

/// Random augmentation of a training image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Crop of the image.
    pub crop: TrainingCrop,
    /// Probability of a horizontal flip, 0 to 1.
    pub horizontal_flip: f64,
    /// Random brightness, contrast and saturation; off by default.
    #[serde(default)]
    pub colour_jitter: Option<ColorJitter>,
    /// Probability of a conversion to grayscale, 0 to 1; 0 by default.
    #[serde(default)]
    pub greyscale: f64,
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
            crop: TrainingCrop::Centre,
            horizontal_flip: 0.0,
            colour_jitter: None,
            greyscale: 0.0,
            erasing: 0.0,
        }
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] that names the first invalid setting.
    pub fn check(&self) -> Result<(), ImageError> {
        let invalid = |reason: String| Err(ImageError::Preprocessing { reason });
        if let TrainingCrop::RandomResized { scale, ratio } = self.crop {
            if !(0.0 < scale[0] && scale[0] <= scale[1] && scale[1] <= 1.0) {
                return invalid(format!(
                    "scale: expected two ascending fractions in (0, 1], got {scale:?}"
                ));
            }
            if !(0.0 < ratio[0] && ratio[0] <= ratio[1] && ratio[1].is_finite()) {
                return invalid(format!(
                    "ratio: expected two ascending finite numbers above 0, got {ratio:?}"
                ));
            }
        }
        let probabilities = [
            ("horizontal_flip", self.horizontal_flip),
            ("greyscale", self.greyscale),
            ("erasing", self.erasing),
        ];
        if let Some((name, probability)) = probabilities
            .iter()
            .find(|(_, probability)| !(0.0..=1.0).contains(probability))
        {
            return invalid(format!(
                "{name}: expected a probability from 0 to 1, got {probability}"
            ));
        }
        self.colour_jitter.map_or(Ok(()), |jitter| jitter.check())
    }

    /// Returns the augmented crop, `[S, S, 3]` with S = `preprocessing.size`.
    ///
    /// `draw` returns uniform numbers in [0, 1). The random crop draws two numbers per tried box
    /// and two for its position. The flip then draws one, the color jitter four, and grayscale one.
    /// Erasing draws one, and those of a random box if it applies. Disabled steps draw nothing.
    ///
    /// The box is cropped first and then resized with Pillow's bicubic filter, as in torchvision:
    /// pixels outside the box have no influence.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] if a setting is invalid.
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
                let crop_box = random_crop_box(image.width(), image.height(), scale, ratio, draw);
                let crop = resized_crop(image, crop_box, preprocessing.size)?;
                if preprocessing.grey {
                    crop.to_gray()
                } else {
                    crop
                }
            }
        };
        let applies = |probability: f64, draw: &mut dyn FnMut() -> f64| {
            probability > 0.0 && draw() < probability
        };
        let crop = if applies(self.horizontal_flip, draw) {
            flip_horizontally(crop)?
        } else {
            crop
        };
        let crop = match self.colour_jitter {
            Some(jitter) => jitter.apply(crop, draw),
            None => crop,
        };
        let crop = if applies(self.greyscale, draw) {
            crop.to_gray()
        } else {
            crop
        };
        if applies(self.erasing, draw) {
            erase::erase(crop, draw)
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
