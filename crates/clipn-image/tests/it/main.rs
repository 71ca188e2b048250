//! Integration tests of `clipn-image`, one module a capability.
#![allow(clippy::unwrap_used)]

mod augment;
mod image;
mod image_formats;
mod image_hostile;
mod image_resample;
mod jpeg_unfinished;
mod odd_images;
mod public_cases;
mod tiff_chunks;
