//! From a picture to the tensor that an image tower takes.
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::decode::{DecodeOptions, decode_bytes, decode_file};
use super::error::ImageError;
use super::resample::{Axis, window};
use super::rgb::RgbImage;

/// CLIP's channel means, of values from 0 to 1.
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];

/// CLIP's channel standard deviations, of values from 0 to 1.
const CLIP_STD: [f32; 3] = [0.268_629_55, 0.261_302_6, 0.275_777_1];

/// The largest size of a crop: far above any tower's, and small enough to allocate.
const MAX_SIZE: usize = 4096;

/// How a picture becomes a tensor: the evaluation transform of the published code (torchvision's `Resize` with
/// bicubic interpolation, `CenterCrop`, `ToTensor`, `Normalize` on Pillow images, converted to RGB first).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// S: the tower's image size, in pixels.
    pub size: usize,
    /// Mean of each channel, of values from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of values from 0 to 1.
    pub std: [f32; 3],
    /// How files are decoded.
    pub decode: DecodeOptions,
    /// Takes the colours away after the crop ([`RgbImage::to_grey`]), as a control for what colour contributes.
    pub grey: bool,
}

impl Preprocessing {
    /// CLIP's preprocessing for towers of `size`: OpenAI's mean and deviation, decoded as the published code does.
    pub fn clip(size: usize) -> Self {
        Self {
            size,
            mean: CLIP_MEAN,
            std: CLIP_STD,
            decode: DecodeOptions::faithful(),
            grey: false,
        }
    }

    /// Values of the tensor `[3, size, size]`.
    pub fn tensor_len(&self) -> usize {
        self.size.saturating_mul(self.size).saturating_mul(3)
    }

    /// Resizes the short side to `size` and takes the middle: `[size, size, 3]`.
    ///
    /// Byte for byte Pillow's bicubic resize to (`size`, trunc(`size` · long / short)) and torchvision's centre crop
    /// at round-half-even((side − `size`) / 2). Only the crop is computed, so extreme ratios cost no memory.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] when `size` is 0 or above 4096.
    pub fn crop(&self, image: &RgbImage) -> Result<RgbImage, ImageError> {
        self.check()?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let short = width.min(height);
        let pixels = window(
            image.pixels(),
            axis(width, short, self.size),
            axis(height, short, self.size),
        );
        let size = self.size as u32;
        let crop = RgbImage::new(size, size, pixels)?;
        Ok(if self.grey { crop.to_grey() } else { crop })
    }

    /// Writes the crop `[size, size, 3]` as the tensor `[3, size, size]`: (value / 255 − mean) / std in f32, the same
    /// bits as torchvision's.
    ///
    /// # Errors
    /// [`ImageError::CropSize`] and [`ImageError::OutputLength`] when a shape is another,
    /// [`ImageError::Preprocessing`] when a setting cannot be used.
    pub fn normalise_into(&self, crop: &RgbImage, out: &mut [f32]) -> Result<(), ImageError> {
        self.check()?;
        let (width, height) = (crop.width(), crop.height());
        if width as usize != self.size || height as usize != self.size {
            return Err(ImageError::CropSize {
                width,
                height,
                size: self.size,
            });
        }
        let (size, expected, found) = (self.size, self.tensor_len(), out.len());
        if found != expected {
            return Err(ImageError::OutputLength {
                size,
                expected,
                found,
            });
        }
        for (channel, plane) in out.chunks_exact_mut(size * size).enumerate() {
            let values = self.values_of(channel);
            for (out, pixel) in plane.iter_mut().zip(crop.pixels().as_chunks::<3>().0) {
                *out = values[usize::from(pixel[channel])];
            }
        }
        Ok(())
    }

    /// Decodes the file at `path` and writes its tensor `[3, size, size]`.
    ///
    /// # Errors
    /// Those of [`decode_file`], [`Preprocessing::crop`] and [`Preprocessing::normalise_into`].
    pub fn file_into(&self, path: &Path, out: &mut [f32]) -> Result<(), ImageError> {
        let image = decode_file(path, &self.decode)?;
        self.normalise_into(&self.crop(&image)?, out)
    }

    /// Decodes `bytes` and writes their tensor `[3, size, size]`.
    ///
    /// # Errors
    /// Those of [`decode_bytes`], [`Preprocessing::crop`] and [`Preprocessing::normalise_into`].
    pub fn bytes_into(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), ImageError> {
        let image = decode_bytes(bytes, &self.decode)?;
        self.normalise_into(&self.crop(&image)?, out)
    }

    /// The normalised value of each of a channel's 256 bytes.
    fn values_of(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
    }

    pub fn check(&self) -> Result<(), ImageError> {
        if self.size == 0 || self.size > MAX_SIZE {
            let reason = format!("size is {}, but must be from 1 to {MAX_SIZE}", self.size);
            return Err(ImageError::Preprocessing { reason });
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            let reason = format!("mean is {:?}, but must be three finite numbers", self.mean);
            return Err(ImageError::Preprocessing { reason });
        }
        if self.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            let reason = format!(
                "std is {:?}, but must be three finite numbers above 0",
                self.std
            );
            return Err(ImageError::Preprocessing { reason });
        }
        Ok(())
    }
}

/// A side of `input` pixels when the `short` side becomes `size`, and the middle `size` of it.
fn axis(input: usize, short: usize, size: usize) -> Axis {
    let output = size as u64 * input as u64 / short as u64;
    let spare = output - size as u64;
    // Half to even: spare / 2 when even, else the even one of the two neighbours.
    let offset = if spare % 4 == 3 {
        spare / 2 + 1
    } else {
        spare / 2
    };
    Axis {
        input,
        output,
        offset,
        length: size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_truncated_and_offsets_round_half_to_even() {
        for (input, short, output, offset) in [
            (225, 224, 225, 0),
            (227, 224, 227, 2),
            (229, 224, 229, 2),
            (231, 224, 231, 4),
            (1500, 1005, 334, 55),
            (251, 333, 168, 0),
        ] {
            if input >= short {
                let axis = axis(input, short, 224);
                assert_eq!(
                    (axis.output, axis.offset, axis.length),
                    (output, offset, 224)
                );
            }
        }
        assert_eq!(axis(40_000, 1, 224).output, 8_960_000);
    }

    #[test]
    fn refuses_shapes_and_settings_that_make_no_tensor() {
        let image = RgbImage::new(4, 4, vec![7; 48]).unwrap();
        let four = Preprocessing::clip(4);
        assert!(matches!(
            four.normalise_into(&image, &mut [0.0; 47]),
            Err(ImageError::OutputLength {
                expected: 48,
                found: 47,
                ..
            })
        ));
        let eight = Preprocessing::clip(8);
        assert!(matches!(
            eight.normalise_into(&image, &mut vec![0.0; eight.tensor_len()]),
            Err(ImageError::CropSize { width: 4, .. })
        ));
        for broken in [
            Preprocessing::clip(0),
            Preprocessing::clip(usize::MAX),
            Preprocessing {
                std: [1.0, 0.0, 1.0],
                ..four.clone()
            },
            Preprocessing {
                mean: [f32::NAN, 0.0, 0.0],
                ..four
            },
        ] {
            assert!(
                matches!(broken.crop(&image), Err(ImageError::Preprocessing { .. })),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn an_image_of_the_size_is_untouched() {
        let pixels: Vec<u8> = (0..4 * 4 * 3).collect();
        let image = RgbImage::new(4, 4, pixels).unwrap();
        assert_eq!(Preprocessing::clip(4).crop(&image).unwrap(), image);
    }

    #[test]
    fn grey_leaves_three_equal_channels() {
        let image = RgbImage::new(4, 4, (0..48).map(|v| v * 5).collect()).unwrap();
        let grey = Preprocessing {
            grey: true,
            ..Preprocessing::clip(4)
        };
        assert_eq!(grey.crop(&image).unwrap(), image.to_grey());
    }

    #[test]
    fn settings_survive_json() {
        let mut settings = Preprocessing::clip(224);
        settings.decode = DecodeOptions::for_users();
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<Preprocessing>(&text).unwrap(),
            settings
        );
    }
}
