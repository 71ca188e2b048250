//! Random color jitter.
use serde::{Deserialize, Serialize};

use super::crop::lerp_range;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Random brightness, contrast and saturation, as in torchvision's `ColorJitter` (without its hue).
///
/// Each factor is uniform in [1 − x, 1 + x] with x in 0 to 1, so it is never below 0. The three
/// adjustments are applied in random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColorJitter {
    /// Maximum deviation of the brightness factor from 1, which blends the image with black; 0 to
    /// 1.
    pub brightness: f64,
    /// Maximum deviation of the contrast factor from 1, which blends with the mean gray; 0 to 1.
    pub contrast: f64,
    /// Maximum deviation of the saturation factor from 1, which blends with the grayscale image;
    /// 0 to 1.
    pub saturation: f64,
}

/// Kind of adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Adjustment {
    Brightness,
    Contrast,
    Saturation,
}

use Adjustment::{Brightness, Contrast, Saturation};

/// All orders of the three adjustments.
const ORDERS: [[Adjustment; 3]; 6] = [
    [Brightness, Contrast, Saturation],
    [Brightness, Saturation, Contrast],
    [Contrast, Brightness, Saturation],
    [Contrast, Saturation, Brightness],
    [Saturation, Brightness, Contrast],
    [Saturation, Contrast, Brightness],
];

impl ColorJitter {
    /// Validates the settings.
    pub(super) fn validate(&self) -> Result<(), ImageError> {
        let settings = [
            ("colour_jitter.brightness", self.brightness),
            ("colour_jitter.contrast", self.contrast),
            ("colour_jitter.saturation", self.saturation),
        ];
        match settings
            .iter()
            .find(|(_, spread)| !(0.0..=1.0).contains(spread))
        {
            Some((setting, spread)) => Err(ImageError::InvalidSetting {
                setting,
                reason: format!("expected a number from 0 to 1, got {spread}"),
            }),
            None => Ok(()),
        }
    }

    /// Applies the jitter to the image: one draw for the order, then one for each adjustment.
    pub(super) fn apply(&self, mut image: RgbImage, uniform: &mut dyn FnMut() -> f64) -> RgbImage {
        let order = ORDERS[((uniform() * ORDERS.len() as f64) as usize).min(ORDERS.len() - 1)];
        for adjustment in order {
            let spread = match adjustment {
                Brightness => self.brightness,
                Contrast => self.contrast,
                Saturation => self.saturation,
            };
            let factor = lerp_range([1.0 - spread, 1.0 + spread], uniform()) as f32;
            image = match adjustment {
                Brightness => blend(image, |_| 0.0, factor),
                Contrast => {
                    let mean = mean_gray(&image);
                    blend(image, |_| mean, factor)
                }
                Saturation => {
                    let gray = image.to_gray();
                    blend(image, |index| f32::from(gray.pixels()[index]), factor)
                }
            };
        }
        image
    }
}

/// Computes other + factor · (image − other), clamped to 0 to 255 and truncated, as Pillow's
/// `Image.blend` does.
fn blend(image: RgbImage, other: impl Fn(usize) -> f32, factor: f32) -> RgbImage {
    image.map_values(|index, value| {
        let other = other(index);
        (other + factor * (f32::from(value) - other)).clamp(0.0, 255.0) as u8
    })
}

/// Returns the rounded mean of the grayscale image, as in Pillow's `ImageEnhance.Contrast`.
fn mean_gray(image: &RgbImage) -> f32 {
    let gray = image.to_gray();
    let pixels = gray.pixels().as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|pixel| u64::from(pixel[0])).sum();
    (sum as f64 / pixels.len() as f64 + 0.5).floor() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: ColorJitter = ColorJitter {
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
    };

    fn image() -> RgbImage {
        RgbImage::new(2, 1, vec![200, 100, 0, 10, 20, 30]).unwrap()
    }

    fn jittered(jitter: ColorJitter, order: f64, factor: f64) -> Vec<u8> {
        let mut numbers = std::iter::once(order).chain(std::iter::repeat(factor));
        jitter
            .apply(image(), &mut || numbers.next().unwrap())
            .into_pixels()
    }

    #[test]
    fn zero_settings_change_nothing() {
        assert_eq!(jittered(OFF, 0.99, 0.3), image().into_pixels());
    }

    #[test]
    fn each_adjustment_blends_with_its_own_target() {
        // A draw of 0 gives the factor 1 − 0.5. The gray values are 118 and 18, with mean 68.
        let half = |jitter| jittered(jitter, 0.0, 0.0);
        assert_eq!(
            half(ColorJitter {
                brightness: 0.5,
                ..OFF
            }),
            [100, 50, 0, 5, 10, 15]
        );
        assert_eq!(
            half(ColorJitter {
                contrast: 0.5,
                ..OFF
            }),
            [134, 84, 34, 39, 44, 49]
        );
        assert_eq!(
            half(ColorJitter {
                saturation: 0.5,
                ..OFF
            }),
            [159, 109, 59, 14, 19, 24]
        );
    }

    #[test]
    fn values_stay_within_eight_bits_and_depend_on_the_order() {
        let all = ColorJitter {
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
        };
        assert_eq!(jittered(all, 0.0, 0.999)[0], 255);
        assert_ne!(jittered(all, 0.0, 0.9), jittered(all, 0.9, 0.9));
    }
}
