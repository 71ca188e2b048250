use std::path::{Path, PathBuf};

use crate::{ImageError, Preprocessing};

/// An image that is not read yet: a path, a member of an archive, bytes in memory. Workers read many at
/// a time, each once.
///
/// ```
/// use clipn_image::{Preprocessing, ReadImage};
///
/// let preprocessing = Preprocessing::clip(224);
/// let mut pixels = vec![0.0; preprocessing.tensor_len()];
/// let missing = std::path::PathBuf::from("nosuch.jpg").read_pixels(&preprocessing, &mut pixels);
/// assert!(missing.is_err());
/// ```
pub trait ReadImage: Send {
    /// Reads, decodes and preprocesses the image, and writes its tensor `[3, S, S]` to `out`.
    ///
    /// # Errors
    /// The image cannot be read or decoded; other images are not affected.
    fn read_pixels(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError>;

    /// Bytes of memory that the image holds before it is read, such as a member of an archive. A worker
    /// takes fewer images at a time if they are large.
    fn held_bytes(&self) -> usize {
        0
    }
}

impl ReadImage for &Path {
    fn read_pixels(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        preprocessing.preprocess_file(self, out)
    }
}

impl ReadImage for PathBuf {
    fn read_pixels(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        preprocessing.preprocess_file(self, out)
    }
}
