//! Photographs into pixels: decode, resize, crop, normalise.
//!
//! Follows what Pillow and torchvision do for the published evaluation, byte for byte after decoding, so that a
//! photograph gives the same tensor here as there: file or bytes → [`RgbImage`] `[H, W, 3]` → crop `[S, S, 3]` →
//! tensor `[3, S, S]`.
mod augment;
mod decode;
mod error;
mod preprocess;
mod read_image;
mod resample;
mod rgb;
mod transpose;

pub use augment::{Augmentation, ColourJitter, CropBox, TrainingCrop, random_box, resized_crop};
pub use decode::{DecodeOptions, decode_bytes, decode_file};
pub use error::{ImageError, Origin};
pub use preprocess::Preprocessing;
pub use read_image::ReadImage;
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
