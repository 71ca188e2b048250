//! Images that are not read yet.
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::preprocess::Preprocessing;

/// Source of one image: a path, a member of an archive, bytes in memory.
///
/// Workers read many sources at a time, each once. Implement the trait for images that are neither
/// files nor in memory, such as rows of a database.
///
/// ```
/// use clipn_image::{ImageError, ImageSource, Preprocessing};
///
/// /// Uncompressed bytes of an image file, with a name for error messages.
/// struct Row {
///     name: String,
///     bytes: Vec<u8>,
/// }
///
/// impl ImageSource for Row {
///     fn read_tensor(
///         &mut self,
///         preprocessing: &Preprocessing,
///         out: &mut [f32],
///     ) -> Result<(), ImageError> {
///         preprocessing
///             .preprocess_bytes(&self.bytes, out)
///             .map_err(|error| error.with_path(&self.name))
///     }
///
///     fn bytes_in_memory(&self) -> usize {
///         self.bytes.len()
///     }
/// }
///
/// let preprocessing = Preprocessing::clip(224);
/// let mut tensor = vec![0.0; preprocessing.tensor_len()];
/// let mut row = Row { name: "row 7".to_owned(), bytes: b"BM".to_vec() };
/// let error = row.read_tensor(&preprocessing, &mut tensor).unwrap_err();
/// assert!(error.to_string().starts_with("row 7: "));
/// ```
pub trait ImageSource: Send {
    /// Reads, decodes and preprocesses the image, and writes its tensor `[3, S, S]` to `out`.
    ///
    /// # Errors
    /// An [`ImageError`] if the image cannot be read or decoded, or if `out` has another length
    /// than [`Preprocessing::tensor_len`].
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError>;

    /// Passes the encoded image, such as the content of its file, to `inspect`, and returns whether there
    /// is one that can be read. The image can still be read afterwards. By default, there is none.
    ///
    /// Features are cached under a digest of it.
    fn inspect_content(&mut self, inspect: &mut dyn FnMut(&[u8])) -> bool {
        let _ = inspect;
        false
    }

    /// Returns the bytes of memory that the image takes before it is read; 0 by default.
    ///
    /// A worker takes fewer images at a time if they are large.
    fn bytes_in_memory(&self) -> usize {
        0
    }
}

impl ImageSource for &Path {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        preprocessing.preprocess_file(self, out)
    }

    fn inspect_content(&mut self, inspect: &mut dyn FnMut(&[u8])) -> bool {
        inspect_file(self, inspect)
    }
}

impl ImageSource for PathBuf {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        preprocessing.preprocess_file(self, out)
    }

    fn inspect_content(&mut self, inspect: &mut dyn FnMut(&[u8])) -> bool {
        inspect_file(self, inspect)
    }
}

/// Maximum size of a file in [`inspect_file`]; a larger one is an image all the same.
const MAX_INSPECTED_BYTES: u64 = 256 << 20;

/// Passes the content of an image file to `inspect`, and returns whether it could be read; for
/// implementations of [`ImageSource::inspect_content`].
pub fn inspect_file(path: impl AsRef<Path>, inspect: &mut dyn FnMut(&[u8])) -> bool {
    let path = path.as_ref();
    let is_small_file = std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_INSPECTED_BYTES);
    if !is_small_file {
        return false;
    }
    std::fs::read(path).map(|bytes| inspect(&bytes)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_sources_of_their_files() {
        let preprocessing = Preprocessing::clip(4);
        let mut tensor = vec![0.0; preprocessing.tensor_len()];
        let path = clipn_testing::fixture("image/444.jpg");
        path.as_path()
            .read_tensor(&preprocessing, &mut tensor)
            .unwrap();
        let mut same = vec![0.0; tensor.len()];
        path.clone().read_tensor(&preprocessing, &mut same).unwrap();
        assert_eq!(tensor, same);
        assert_eq!(path.bytes_in_memory(), 0);
    }
}
