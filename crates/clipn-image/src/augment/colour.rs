//! Random changes of a picture's colours.
use serde::{Deserialize, Serialize};

use super::crop::between;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Random brightness, contrast and saturation, as torchvision's `ColorJitter` (which has a hue besides): each is a
/// factor uniform in 1 − x to 1 + x, never below 0, and the three follow one another in random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourJitter {
    /// Between the picture and black.
    pub brightness: f64,
    /// Between the picture and its mean grey.
    pub contrast: f64,
    /// Between the picture and itself in grey.
    pub saturation: f64,
}

/// One of the three changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Brightness,
    Contrast,
    Saturation,
}

use Change::{Brightness, Contrast, Saturation};

/// Every order that the changes can have.
const ORDERS: [[Change; 3]; 6] = [
    [Brightness, Contrast, Saturation],
    [Brightness, Saturation, Contrast],
    [Contrast, Brightness, Saturation],
    [Contrast, Saturation, Brightness],
    [Saturation, Brightness, Contrast],
    [Saturation, Contrast, Brightness],
];

impl ColourJitter {
    /// Whether the settings can be used.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        let parts = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ];
        match parts
            .iter()
            .find(|(_, spread)| !(0.0..=1.0).contains(spread))
        {
            Some((name, spread)) => {
                let reason =
                    format!("colour_jitter.{name} is {spread}, but must lie between 0 and 1");
                Err(ImageError::Preprocessing { reason })
            }
            None => Ok(()),
        }
    }

    /// Changes the picture: one draw for the order, then one for each of the three.
    pub(super) fn apply(&self, mut image: RgbImage, draw: &mut dyn FnMut() -> f64) -> RgbImage {
        let order = ORDERS[((draw() * ORDERS.len() as f64) as usize).min(ORDERS.len() - 1)];
        for change in order {
            let spread = match change {
                Brightness => self.brightness,
                Contrast => self.contrast,
                Saturation => self.saturation,
            };
            let factor = between([1.0 - spread, 1.0 + spread], draw()) as f32;
            image = match change {
                Brightness => blend(image, |_| 0.0, factor),
                Contrast => {
                    let mean = mean_grey(&image);
                    blend(image, |_| mean, factor)
                }
                Saturation => {
                    let grey = image.to_grey();
                    blend(image, |at| f32::from(grey.pixels()[at]), factor)
                }
            };
        }
        image
    }
}

/// other + factor · (picture − other), cut off below 0, above 255 and after the point, as Pillow's `Image.blend`.
fn blend(image: RgbImage, other: impl Fn(usize) -> f32, factor: f32) -> RgbImage {
    image.map_values(|at, value| {
        let other = other(at);
        (other + factor * (f32::from(value) - other)).clamp(0.0, 255.0) as u8
    })
}

/// The mean of the picture in grey, rounded, as Pillow's `ImageEnhance.Contrast` takes it.
fn mean_grey(image: &RgbImage) -> f32 {
    let grey = image.to_grey();
    let firsts = grey.pixels().as_chunks::<3>().0;
    let sum: u64 = firsts.iter().map(|pixel| u64::from(pixel[0])).sum();
    (sum as f64 / firsts.len() as f64 + 0.5).floor() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: ColourJitter = ColourJitter {
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
    };

    fn image() -> RgbImage {
        RgbImage::new(2, 1, vec![200, 100, 0, 10, 20, 30]).unwrap()
    }

    fn with(jitter: ColourJitter, order: f64, share: f64) -> Vec<u8> {
        let mut numbers = std::iter::once(order).chain(std::iter::repeat(share));
        jitter
            .apply(image(), &mut || numbers.next().unwrap())
            .into_pixels()
    }

    #[test]
    fn no_spread_changes_nothing() {
        assert_eq!(with(OFF, 0.99, 0.3), image().into_pixels());
    }

    #[test]
    fn each_change_goes_towards_its_own_end() {
        // A share of 0 is the factor 1 − 0.5. Greys are 118 and 18, so that their mean is 68.
        let half = |jitter| with(jitter, 0.0, 0.0);
        assert_eq!(
            half(ColourJitter {
                brightness: 0.5,
                ..OFF
            }),
            [100, 50, 0, 5, 10, 15]
        );
        assert_eq!(
            half(ColourJitter {
                contrast: 0.5,
                ..OFF
            }),
            [134, 84, 34, 39, 44, 49]
        );
        assert_eq!(
            half(ColourJitter {
                saturation: 0.5,
                ..OFF
            }),
            [159, 109, 59, 14, 19, 24]
        );
    }

    #[test]
    fn changes_stay_within_eight_bits_and_depend_on_their_order() {
        let all = ColourJitter {
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
        };
        assert_eq!(with(all, 0.0, 0.999)[0], 255);
        assert_ne!(with(all, 0.0, 0.9), with(all, 0.9, 0.9));
    }
}
