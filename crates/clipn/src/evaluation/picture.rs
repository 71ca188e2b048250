use std::path::Path;

use crate::dataset::NamedPicture;
use crate::image::{ImageError, Preprocessing};

/// A picture that is not read yet. Workers read it: many at a time, each once.
pub trait Picture: Send {
    /// Why it could not be read.
    type Error: Send;

    /// Reads and decodes it and writes its tensor `[3, size, size]`.
    ///
    /// # Errors
    /// Whatever keeps this picture from being read; others are read all the same.
    fn pixels_into(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), Self::Error>;

    /// Bytes of memory that it holds before it is read, such as a file of an archive; workers take fewer pictures at a
    /// time where these are many.
    fn held(&self) -> usize {
        0
    }
}

/// A file.
impl Picture for &Path {
    type Error = ImageError;

    fn pixels_into(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        preprocessing.file_into(self, out)
    }
}

impl Picture for NamedPicture {
    type Error = ImageError;

    fn pixels_into(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        Self::pixels_into(self, preprocessing, out)
    }

    fn held(&self) -> usize {
        Self::held(self)
    }
}
