//! Images as the tensors that a CLIP tower takes, with the pixels of the published evaluations.
//!
//! Published CLIP numbers were computed with Pillow and torchvision. A decoder or a resize filter
//! that differs by a few levels changes them. This crate follows the two byte for byte: JPEG files
//! are decoded as libjpeg-turbo does, resized with Pillow's bicubic filter, and normalized as
//! torchvision does. It does not need CLIP; any model with this preprocessing can use it.
//!
//! ```text
//! file ──┐ decode_file                  crop              normalize_into
//!        ├────────────► RgbImage ────────────► RgbImage ────────────► tensor
//! bytes ─┘ decode_bytes [H, W, 3]  │         [S, S, 3]               [3, S, S]
//!                                  └► Augmentation::apply, for training
//! ```
//!
//! ```
//! use clipn_image::{Preprocessing, RgbImage};
//!
//! let image = RgbImage::new(2, 1, vec![0, 0, 0, 255, 255, 255])?;
//! let preprocessing = Preprocessing::clip(224);
//! let crop = preprocessing.crop(&image)?;
//! assert_eq!((crop.width(), crop.height()), (224, 224));
//!
//! let mut tensor = vec![0.0; preprocessing.tensor_len()];
//! preprocessing.normalize_into(&crop, &mut tensor)?;
//! assert_eq!(tensor.len(), 3 * 224 * 224);
//! # Ok::<(), clipn_image::ImageError>(())
//! ```
//!
//! | item | purpose |
//! |---|---|
//! | [`decode_file`], [`decode_bytes`] | JPEG, PNG, WebP, BMP, GIF, TIFF, PNM and QOI to RGB, whatever the file's extension |
//! | [`is_image_start`] | whether a file without an extension is an image |
//! | [`DecodeOptions`] | EXIF orientation, 16-bit grayscale, maximum number of pixels |
//! | [`Preprocessing`] | resize, center crop and normalization; from file to tensor in one call |
//! | [`Augmentation`], [`random_crop_box`], [`resized_crop`] | torchvision's random crop, flip, color jitter, grayscale and erasing |
//! | [`SyntheticOutlier`] | images that no caption describes, made from training images or drawn |
//! | [`ImageSource`] | trait for images that a pipeline reads later |
//!
//! Files are not trusted: sizes are checked before memory is allocated, and a decoder that panics
//! gives an [`ImageError::Corrupt`]. All functions are pure and `Send`; SIMD instructions are
//! detected at run time. The crate has no features.
mod augment;
mod decode;
mod error;
mod outliers;
mod preprocess;
mod resample;
mod rgb;
mod simd_transpose;
mod source;

pub use augment::{
    Augmentation, ColorJitter, CropBox, TrainingCrop, random_crop_box, resized_crop,
};
pub use decode::{
    DecodeOptions, IMAGE_START_BYTES, apply_exif_orientation, decode_bytes, decode_file,
    is_image_start, read_file,
};
pub use error::{ImageError, ImageOrigin};
pub use outliers::{OutlierMix, SyntheticOutlier};
pub use preprocess::{Preprocessing, ResizeMode};
pub use resample::PillowVersion;
pub use rgb::RgbImage;
pub use source::{ImageSource, inspect_file};

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
