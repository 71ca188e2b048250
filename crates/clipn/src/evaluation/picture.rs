use std::path::Path;

use crate::dataset::NamedPicture;
use crate::image::{ImageError, Preprocessing};

/// An image that is not read yet. Workers read images in parallel, each image once.
pub trait Picture: Send {
    /// Error of an unreadable image.
    type Error: Send;

    /// Reads and decodes the image and writes its tensor `[3, size, size]` to `out`.
    ///
    /// # Errors
    /// [`Self::Error`] if this image cannot be read. Other images are still read.
    fn pixels_into(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), Self::Error>;

    /// Returns the bytes of memory that the image holds before it is read, such as a file of an
    /// archive. Workers take fewer images at a time if this is large.
    fn held(&self) -> usize {
        0
    }
}

/// Path of an image file.
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
