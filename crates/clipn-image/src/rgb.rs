//! Decoded images.
use std::io;

use crate::error::{ImageError, ImageOrigin};
use crate::resample::{AxisResampling, Filter, PassOrder, resample_window};

/// RGB image with 8 bits per channel and rows from top to bottom: `[H, W, 3]`.
///
/// ```
/// use clipn_image::RgbImage;
///
/// let image = RgbImage::new(2, 1, vec![255, 0, 0, 0, 0, 255])?;
/// assert_eq!((image.width(), image.height()), (2, 1));
/// assert_eq!(image.to_gray().pixels(), [76, 76, 76, 29, 29, 29]);
/// # Ok::<(), clipn_image::ImageError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl RgbImage {
    /// Creates an image from `pixels` `[height, width, 3]`.
    ///
    /// # Errors
    /// - [`ImageError::NoPixels`] if `width` or `height` is 0.
    /// - [`ImageError::PixelCount`] if the length of `pixels` is not `height * width * 3`.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels {
                origin: ImageOrigin::Memory,
                width,
                height,
            });
        }
        let expected = (u64::from(width) * u64::from(height)).saturating_mul(3);
        if pixels.len() as u64 != expected {
            return Err(ImageError::PixelCount {
                width,
                height,
                expected,
                actual: pixels.len(),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Pixels, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Converts the image into its pixels, `[height, width, 3]`, without copying them.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// Replaces each value by `map(index, value)`, with the index into [`RgbImage::pixels`].
    #[must_use]
    pub(crate) fn map_values(mut self, map: impl Fn(usize, u8) -> u8) -> Self {
        for (index, value) in self.pixels.iter_mut().enumerate() {
            *value = map(index, *value);
        }
        self
    }

    /// Resizes the image to `[height, width, 3]` with Pillow's bicubic filter.
    ///
    /// # Errors
    /// [`ImageError::NoPixels`] if `width` or `height` is 0, [`ImageError::InvalidSetting`] if one is above 65,535.
    ///
    /// ```
    /// use clipn_image::RgbImage;
    ///
    /// let image = RgbImage::new(4, 2, vec![90; 24])?;
    /// assert_eq!(image.resized(2, 1)?, RgbImage::new(2, 1, vec![90; 6])?);
    /// # Ok::<(), clipn_image::ImageError>(())
    /// ```
    pub fn resized(&self, width: u32, height: u32) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Self::new(width, height, Vec::new());
        }
        if width.max(height) > u32::from(u16::MAX) {
            return Err(ImageError::InvalidSetting {
                setting: "size",
                reason: format!("expected at most 65535 x 65535 pixels, got {width} x {height}"),
            });
        }
        let axis = |from: u32, to: u32| AxisResampling {
            input_len: from as usize,
            output_len: u64::from(to),
            window_start: 0,
            window_len: to as usize,
            filter: Filter::Bicubic,
        };
        let (horizontal, vertical) = (axis(self.width, width), axis(self.height, height));
        Self::new(
            width,
            height,
            resample_window(
                &self.pixels,
                horizontal,
                vertical,
                PassOrder::HorizontalFirst,
            ),
        )
    }

    /// Encodes the image as a PNG file.
    ///
    /// # Errors
    /// Any error of the encoder.
    ///
    /// ```
    /// use clipn_image::{DecodeOptions, RgbImage, decode_bytes};
    ///
    /// let image = RgbImage::new(2, 1, vec![255, 0, 0, 0, 0, 255])?;
    /// let png = image.to_png()?;
    /// assert_eq!(decode_bytes(&png, &DecodeOptions::default())?, image);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_png(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.set_filter(png::Filter::Adaptive);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }

    /// Converts the image to grayscale, with three equal channels.
    ///
    /// Same values as Pillow's `convert("L")`: the luma of ITU-R 601-2 with 16-bit weights,
    /// rounded.
    #[must_use]
    pub fn to_gray(&self) -> Self {
        let mut pixels = self.pixels.clone();
        for pixel in pixels.as_chunks_mut::<3>().0 {
            let [red, green, blue] = pixel.map(u32::from);
            *pixel = [((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8; 3];
        }
        Self {
            width: self.width,
            height: self.height,
            pixels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_pixel_counts_that_do_not_match_the_shape() {
        assert!(RgbImage::new(2, 1, vec![0; 6]).is_ok());
        assert!(matches!(
            RgbImage::new(2, 1, vec![0; 5]),
            Err(ImageError::PixelCount {
                expected: 6,
                actual: 5,
                ..
            })
        ));
        assert!(matches!(
            RgbImage::new(0, 7, Vec::new()),
            Err(ImageError::NoPixels { .. })
        ));
        assert!(RgbImage::new(u32::MAX, u32::MAX, Vec::new()).is_err());
    }

    #[test]
    fn gray_matches_pillows_luma() {
        let colors = [
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 255],
            [10, 200, 77],
            [255, 255, 255],
            [1, 2, 3],
        ];
        let image = RgbImage::new(6, 1, colors.concat()).unwrap();
        let gray: Vec<u8> = image
            .to_gray()
            .pixels()
            .iter()
            .step_by(3)
            .copied()
            .collect();
        assert_eq!(gray, [76, 150, 29, 129, 255, 2]);
        assert!(
            image
                .to_gray()
                .pixels()
                .as_chunks::<3>()
                .0
                .iter()
                .all(|p| p[0] == p[1] && p[1] == p[2])
        );
    }
}
