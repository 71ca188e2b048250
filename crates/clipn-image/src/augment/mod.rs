//! What training does to a picture at random, another time something else: the crop it takes, a mirror, other colours,
//! a box erased.
mod colour;
mod crop;
mod erase;

pub use colour::ColourJitter;
pub use crop::{CropBox, random_box, resized_crop};

use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::preprocess::Preprocessing;
use super::rgb::RgbImage;

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
    /// Random brightness, contrast and saturation.
    #[serde(default)]
    pub colour_jitter: Option<ColourJitter>,
    /// How likely the crop loses its colours, 0 to 1.
    #[serde(default)]
    pub greyscale: f64,
    /// How likely a box of 2 to 33 % of the crop is filled with CLIP's mean colour, 0 to 1 (torchvision's
    /// `RandomErasing`).
    #[serde(default)]
    pub erasing: f64,
}

impl Augmentation {
    /// The published run's: a random box of 0.9 to 1 of the area, 3:4 to 4:3, never mirrored.
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

    /// None: the crop of evaluation.
    pub const fn none() -> Self {
        Self {
            crop: TrainingCrop::Centre,
            horizontal_flip: 0.0,
            colour_jitter: None,
            greyscale: 0.0,
            erasing: 0.0,
        }
    }

    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] naming the setting.
    pub fn check(&self) -> Result<(), ImageError> {
        let refuse = |reason: String| Err(ImageError::Preprocessing { reason });
        if let TrainingCrop::RandomResized { scale, ratio } = self.crop {
            if !(0.0 < scale[0] && scale[0] <= scale[1] && scale[1] <= 1.0) {
                return refuse(format!(
                    "scale is {scale:?}, but must be two ascending shares in (0, 1]"
                ));
            }
            if !(0.0 < ratio[0] && ratio[0] <= ratio[1] && ratio[1].is_finite()) {
                return refuse(format!(
                    "ratio is {ratio:?}, but must be two ascending numbers above 0"
                ));
            }
        }
        let chances = [
            ("horizontal_flip", self.horizontal_flip),
            ("greyscale", self.greyscale),
            ("erasing", self.erasing),
        ];
        if let Some((name, chance)) = chances
            .iter()
            .find(|(_, chance)| !(0.0..=1.0).contains(chance))
        {
            return refuse(format!(
                "{name} is {chance}, but must be a probability from 0 to 1"
            ));
        }
        self.colour_jitter.map_or(Ok(()), |jitter| jitter.check())
    }

    /// The crop to train on, `[S, S, 3]` with S = `preprocessing.size`. `draw` gives uniform numbers in [0, 1): two a
    /// try and two for the place of the box, then one for the mirror, four for the colours, one for grey, and one with a
    /// box for what is erased, each where it is on.
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
                if preprocessing.grey {
                    crop.to_grey()
                } else {
                    crop
                }
            }
        };
        let happens = |chance: f64, draw: &mut dyn FnMut() -> f64| chance > 0.0 && draw() < chance;
        let crop = if happens(self.horizontal_flip, draw) {
            mirror(crop)?
        } else {
            crop
        };
        let crop = match self.colour_jitter {
            Some(jitter) => jitter.apply(crop, draw),
            None => crop,
        };
        let crop = if happens(self.greyscale, draw) {
            crop.to_grey()
        } else {
            crop
        };
        if happens(self.erasing, draw) {
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

    #[test]
    fn mirroring_reverses_rows() {
        let image = RgbImage::new(2, 2, vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).unwrap();
        let settings = Augmentation {
            horizontal_flip: 1.0,
            ..Augmentation::none()
        };
        let turned = settings
            .apply(&image, &Preprocessing::clip(2), &mut fixed(&[0.5]))
            .unwrap();
        assert_eq!(turned.pixels(), [2, 2, 2, 1, 1, 1, 4, 4, 4, 3, 3, 3]);
    }
}
