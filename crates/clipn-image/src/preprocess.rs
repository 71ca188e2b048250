//! Preprocessing of an image into the input tensor of an image tower.
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decode::{DecodeOptions, decode_bytes, decode_file};
use crate::error::ImageError;
use crate::resample::{AxisResampling, Filter, PillowVersion, resample_window};
use crate::rgb::RgbImage;

/// CLIP's channel means, for values in [0, 1].
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];

/// CLIP's channel standard deviations, for values in [0, 1].
const CLIP_STD: [f32; 3] = [0.268_629_55, 0.261_302_6, 0.275_777_1];

/// Maximum crop size in pixels: far above any tower's, and small enough to allocate.
const MAX_SIZE: usize = 4096;

/// How an image becomes a square of the tower's size. Published figures depend on it.
///
/// All are antialiased, as in Pillow.
///
/// ```
/// use clipn_image::{Preprocessing, ResizeMode};
///
/// let preprocessing = Preprocessing::clip(224).with_resize(ResizeMode::Openood);
/// assert_eq!(preprocessing.resize.short_side(224), 256);
/// assert_eq!("bilinear".parse(), Ok(ResizeMode::Bilinear));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ResizeMode {
    /// CLIP's own, which CLIPN and NegRefine use: the short side is resized to S with the bicubic filter, and
    /// the center is cropped.
    #[default]
    Clip,
    /// torchvision's default filter, which MCM, GL-MCM, NegLabel, CSP, LogitGap, EOE and CMA use: as
    /// [`Clip`](Self::Clip) with the bilinear filter.
    Bilinear,
    /// OpenOOD's for CLIP: the short side is resized to 256/224 of S with the bicubic filter, and the center
    /// is cropped.
    Openood,
}

impl ResizeMode {
    /// All modes, default first.
    pub const ALL: [Self; 3] = [Self::Clip, Self::Bilinear, Self::Openood];

    /// Name in command lines and files, such as `clip`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Bilinear => "bilinear",
            Self::Openood => "openood",
        }
    }

    /// Length in pixels of the short side before the crop, for a tower with image size `size`; OpenOOD's is
    /// rounded down.
    pub fn short_side(self, size: usize) -> usize {
        match self {
            Self::Clip | Self::Bilinear => size,
            Self::Openood => size.saturating_mul(256) / 224,
        }
    }

    fn filter(self) -> Filter {
        match self {
            Self::Clip | Self::Openood => Filter::Bicubic,
            Self::Bilinear => Filter::Bilinear,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for ResizeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ResizeMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| format!("expected clip, bilinear or openood, got {text:?}"))
    }
}

/// Evaluation transform of the published code, from an image to a tensor.
///
/// Equals torchvision's `Resize` with bicubic interpolation, `CenterCrop`, `ToTensor` and
/// `Normalize` on Pillow images that are converted to RGB first.
///
/// ```
/// use clipn_image::{DecodeOptions, Preprocessing, RgbImage};
///
/// // OpenAI's mean and standard deviation; photographs upright, as they are meant to be seen.
/// let preprocessing = Preprocessing::clip(2).with_decode(DecodeOptions::for_display());
/// let image = RgbImage::new(2, 2, vec![255; 12])?;
/// let mut tensor = vec![0.0; preprocessing.tensor_len()];
/// preprocessing.normalize_into(&preprocessing.crop(&image)?, &mut tensor)?;
/// assert_eq!(tensor[0], (1.0 - preprocessing.mean[0]) / preprocessing.std[0]);
/// # Ok::<(), clipn_image::ImageError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Image size S of the tower, 1 to 4096 pixels.
    pub size: usize,
    /// Mean of each channel, for values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each channel, for values in [0, 1]; above 0.
    pub std: [f32; 3],
    /// Options for decoding image files.
    pub decode: DecodeOptions,
    /// Whether the crop is converted to grayscale ([`RgbImage::to_gray`]), as a control for what
    /// color contributes.
    #[serde(rename = "grey", alias = "gray")]
    pub gray: bool,
    /// Version of Pillow whose resize is followed.
    #[serde(default)]
    pub pillow: PillowVersion,
    /// How the image is resized before the crop.
    #[serde(default, skip_serializing_if = "ResizeMode::is_default")]
    pub resize: ResizeMode,
}

impl Preprocessing {
    /// Returns CLIP's preprocessing for towers with image size `size`.
    ///
    /// Uses OpenAI's mean and standard deviation, and [`DecodeOptions::faithful`].
    pub fn clip(size: usize) -> Self {
        Self {
            size,
            mean: CLIP_MEAN,
            std: CLIP_STD,
            decode: DecodeOptions::faithful(),
            gray: false,
            pillow: PillowVersion::default(),
            resize: ResizeMode::default(),
        }
    }

    /// Sets the options for decoding image files.
    #[must_use]
    pub fn with_decode(self, decode: DecodeOptions) -> Self {
        Self { decode, ..self }
    }

    /// Sets whether the crop is converted to grayscale.
    #[must_use]
    pub fn with_gray(self, gray: bool) -> Self {
        Self { gray, ..self }
    }

    /// Sets the version of Pillow whose resize is followed.
    #[must_use]
    pub fn with_pillow(self, pillow: PillowVersion) -> Self {
        Self { pillow, ..self }
    }

    /// Sets how the image is resized before the crop.
    #[must_use]
    pub fn with_resize(self, resize: ResizeMode) -> Self {
        Self { resize, ..self }
    }

    /// Sets the mean and the standard deviation of each channel, for values in [0, 1].
    #[must_use]
    pub fn with_normalization(self, mean: [f32; 3], std: [f32; 3]) -> Self {
        Self { mean, std, ..self }
    }

    /// Returns the number of values of the tensor `[3, size, size]`.
    pub fn tensor_len(&self) -> usize {
        self.size.saturating_mul(self.size).saturating_mul(3)
    }

    /// Resizes the short side and crops the center: `[size, size, 3]`.
    ///
    /// Matches byte for byte Pillow's resize to (`side`, trunc(`side` · long / short)), with filter and `side`
    /// of the [`ResizeMode`], and torchvision's center crop at round-half-even((side − `size`) / 2). Only the crop is
    /// computed, so extreme aspect ratios cost no memory.
    ///
    /// # Errors
    /// [`ImageError::InvalidSetting`] if `size` is not in 1 to 4096, or `mean` or `std` is invalid.
    pub fn crop(&self, image: &RgbImage) -> Result<RgbImage, ImageError> {
        self.validate()?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let short = width.min(height);
        let horizontal = axis(width, short, self.size, self.resize);
        let vertical = axis(height, short, self.size, self.resize);
        let order = self.pillow.pass_order(horizontal, vertical);
        let pixels = resample_window(image.pixels(), horizontal, vertical, order);
        let size = self.size as u32;
        let crop = RgbImage::new(size, size, pixels)?;
        Ok(if self.gray { crop.to_gray() } else { crop })
    }

    /// Normalizes the crop `[size, size, 3]` into the tensor `[3, size, size]`.
    ///
    /// Computes (value / 255 − mean) / std in `f32`, bit for bit as torchvision does.
    ///
    /// # Errors
    /// - [`ImageError::CropSize`] if `crop` is not `size` x `size`.
    /// - [`ImageError::OutputLength`] if the length of `out` is not [`Preprocessing::tensor_len`].
    /// - [`ImageError::InvalidSetting`] if a setting is invalid.
    pub fn normalize_into(&self, crop: &RgbImage, out: &mut [f32]) -> Result<(), ImageError> {
        self.validate()?;
        let (width, height) = (crop.width(), crop.height());
        if width as usize != self.size || height as usize != self.size {
            return Err(ImageError::CropSize {
                width,
                height,
                size: self.size,
            });
        }
        let (size, expected, actual) = (self.size, self.tensor_len(), out.len());
        if actual != expected {
            return Err(ImageError::OutputLength {
                size,
                expected,
                actual,
            });
        }
        for (channel, plane) in out.chunks_exact_mut(size * size).enumerate() {
            let values = self.normalized_values(channel);
            for (out, pixel) in plane.iter_mut().zip(crop.pixels().as_chunks::<3>().0) {
                *out = values[usize::from(pixel[channel])];
            }
        }
        Ok(())
    }

    /// Decodes the file at `path` and writes its tensor `[3, size, size]` to `out`.
    ///
    /// # Errors
    /// The errors of [`decode_file`], [`Preprocessing::crop`] and
    /// [`Preprocessing::normalize_into`].
    pub fn preprocess_file(
        &self,
        path: impl AsRef<Path>,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        let image = decode_file(path, &self.decode)?;
        self.normalize_into(&self.crop(&image)?, out)
    }

    /// Decodes `bytes` of an image file and writes its tensor `[3, size, size]` to `out`.
    ///
    /// # Errors
    /// The errors of [`decode_bytes`], [`Preprocessing::crop`] and
    /// [`Preprocessing::normalize_into`].
    pub fn preprocess_bytes(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), ImageError> {
        let image = decode_bytes(bytes, &self.decode)?;
        self.normalize_into(&self.crop(&image)?, out)
    }

    /// Returns the lookup table from a byte to the normalized value of `channel`.
    fn normalized_values(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
    }

    /// Validates the settings, as every method does that uses them.
    ///
    /// # Errors
    /// [`ImageError::InvalidSetting`] that names the first invalid setting.
    pub fn validate(&self) -> Result<(), ImageError> {
        let invalid = |setting, reason| Err(ImageError::InvalidSetting { setting, reason });
        if self.size == 0 || self.size > MAX_SIZE {
            let reason = format!("expected 1 to {MAX_SIZE}, got {}", self.size);
            return invalid("size", reason);
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            let reason = format!("expected three finite numbers, got {:?}", self.mean);
            return invalid("mean", reason);
        }
        if self.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            let reason = format!("expected three finite numbers above 0, got {:?}", self.std);
            return invalid("std", reason);
        }
        Ok(())
    }
}

/// Returns the resampling of a side of `input_len` pixels that scales `short` pixels to the short side of the
/// mode, and crops the middle `size`.
fn axis(input_len: usize, short: usize, size: usize, resize: ResizeMode) -> AxisResampling {
    let output_len = resize.short_side(size) as u64 * input_len as u64 / short as u64;
    let spare = output_len - size as u64;
    // Round half to even: spare / 2 if that is even, else the even one of its two neighbors.
    let window_start = if spare % 4 == 3 {
        spare / 2 + 1
    } else {
        spare / 2
    };
    AxisResampling {
        input_len,
        output_len,
        window_start,
        window_len: size,
        filter: resize.filter(),
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
                let axis = axis(input, short, 224, ResizeMode::Clip);
                assert_eq!(
                    (axis.output_len, axis.window_start, axis.window_len),
                    (output, offset, 224)
                );
            }
        }
        assert_eq!(axis(40_000, 1, 224, ResizeMode::Clip).output_len, 8_960_000);
        let openood = axis(300, 200, 224, ResizeMode::Openood);
        assert_eq!((openood.output_len, openood.window_start), (384, 80));
    }

    #[test]
    fn rejects_wrong_shapes_and_invalid_settings() {
        let image = RgbImage::new(4, 4, vec![7; 48]).unwrap();
        let four = Preprocessing::clip(4);
        assert!(matches!(
            four.normalize_into(&image, &mut [0.0; 47]),
            Err(ImageError::OutputLength {
                expected: 48,
                actual: 47,
                ..
            })
        ));
        let eight = Preprocessing::clip(8);
        assert!(matches!(
            eight.normalize_into(&image, &mut vec![0.0; eight.tensor_len()]),
            Err(ImageError::CropSize { width: 4, .. })
        ));
        for invalid in [
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
                matches!(invalid.crop(&image), Err(ImageError::InvalidSetting { .. })),
                "{invalid:?}"
            );
        }
    }

    #[test]
    fn an_image_of_the_target_size_is_unchanged() {
        let pixels: Vec<u8> = (0..4 * 4 * 3).collect();
        let image = RgbImage::new(4, 4, pixels).unwrap();
        assert_eq!(Preprocessing::clip(4).crop(&image).unwrap(), image);
    }

    #[test]
    fn gray_crops_have_three_equal_channels() {
        let image = RgbImage::new(4, 4, (0..48).map(|v| v * 5).collect()).unwrap();
        let gray = Preprocessing {
            gray: true,
            ..Preprocessing::clip(4)
        };
        assert_eq!(gray.crop(&image).unwrap(), image.to_gray());
    }

    #[test]
    fn settings_round_trip_through_json() {
        let mut settings = Preprocessing::clip(224);
        settings.decode = DecodeOptions::for_display();
        let text = serde_json::to_string(&settings).unwrap();
        assert!(text.contains("\"grey\":false"), "{text}");
        assert_eq!(
            serde_json::from_str::<Preprocessing>(&text).unwrap(),
            settings
        );
    }
}
