//! Image decoding, resizing, cropping, normalization and training augmentation.
//!
//! Follows what Pillow and torchvision do for the published evaluation, byte for byte after
//! decoding, so that an image yields the same tensor as in the published code: file or bytes →
//! [`RgbImage`] `[H, W, 3]` → crop `[S, S, 3]` → tensor `[3, S, S]`.
//!
//! ```
//! use clipn::image::{Preprocessing, RgbImage};
//!
//! # fn main() -> Result<(), clipn::image::ImageError> {
//! let image = RgbImage::new(2, 1, vec![0, 0, 0, 255, 255, 255])?;
//! let preprocessing = Preprocessing::clip(224);
//! let crop = preprocessing.crop(&image)?;
//! assert_eq!((crop.width(), crop.height()), (224, 224));
//! let mut tensor = vec![0.0; preprocessing.tensor_len()];
//! preprocessing.normalize_into(&crop, &mut tensor)?;
//! # Ok(())
//! # }
//! ```
mod augment;
mod decode;
mod error;
mod preprocess;
mod read_image;
mod resample;
mod rgb;
mod transpose;

pub use augment::{
    Augmentation, ColorJitter, CropBox, TrainingCrop, random_crop_box, resized_crop,
};
pub use decode::{DecodeOptions, decode_bytes, decode_file};
pub use error::{ImageError, ImageOrigin};
pub use preprocess::Preprocessing;
pub use read_image::ImageSource;
pub use rgb::RgbImage;

#[cfg(test)]
mod simd_levels {
    #[test]
    fn the_kernels_agree_at_every_level() {
        clipn_testing::levels::rerun_at_every_level(&["resample", "jpeg"]);
    }

    #[test]
    fn the_requested_level_is_used() {
        clipn_testing::levels::assert_requested_level_is_used();
    }
}
