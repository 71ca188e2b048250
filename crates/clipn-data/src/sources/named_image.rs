use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::sources::LostSource;
use clipn_image::{ImageError, ImageOrigin, ImageSource, Preprocessing, inspect_file};

/// Maximum size in bytes of an image from an archive, a pipe or the network.
pub const MAX_STREAMED_IMAGE_BYTES: u64 = 64 << 20;

/// An image with its name.
#[derive(Debug)]
pub struct NamedImage {
    /// Name in results: a path, or the archive's path and the name in it.
    pub name: String,
    /// Source of the bytes.
    pub content: ImageContent,
}

/// Source of an image's bytes.
#[non_exhaustive]
pub enum ImageContent {
    /// A file.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A slow source, called once, on the worker that decodes the image.
    Fetch(Box<dyn FnMut() -> io::Result<Vec<u8>> + Send>),
    /// The source failed with this error.
    Failed(io::Error),
    /// The bytes were already consumed.
    Consumed,
}

impl fmt::Debug for ImageContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Fetch(_) => f.write_str("Fetch"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Consumed => f.write_str("Consumed"),
        }
    }
}

impl NamedImage {
    /// Creates an image from a file, named after its path.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: path.display().to_string(),
            content: ImageContent::File(path),
        }
    }

    /// Creates an image whose source failed.
    pub fn failed(name: impl Into<String>, error: io::Error) -> Self {
        Self {
            name: name.into(),
            content: ImageContent::Failed(error),
        }
    }

    /// Creates the last image of a source that ends early, after `read` images. It stands for the
    /// unknown number of images that are lost; its error is a [`LostSource`](crate::LostSource).
    pub fn lost(name: impl Into<String>, read: u64, error: io::Error) -> Self {
        Self::failed(name, LostSource::into_io_error(read, error))
    }

    fn unreadable(&self, source: io::Error) -> ImageError {
        ImageError::Read {
            origin: ImageOrigin::File(PathBuf::from(&self.name)),
            source,
        }
    }
}

impl ImageSource for NamedImage {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        // Bytes are freed as soon as they are decoded.
        let bytes = match std::mem::replace(&mut self.content, ImageContent::Consumed) {
            ImageContent::File(path) => return preprocessing.preprocess_file(&path, out),
            ImageContent::Bytes(bytes) => bytes,
            ImageContent::Fetch(mut fetch) => fetch().map_err(|error| self.unreadable(error))?,
            ImageContent::Failed(error) => return Err(self.unreadable(error)),
            ImageContent::Consumed => {
                return Err(self.unreadable(io::Error::other("the image was already read")));
            }
        };
        preprocessing
            .preprocess_bytes(&bytes, out)
            .map_err(|error| error.with_path(&self.name))
    }

    fn inspect_content(&mut self, inspect: &mut dyn FnMut(&[u8])) -> bool {
        match std::mem::replace(&mut self.content, ImageContent::Consumed) {
            ImageContent::Fetch(mut fetch) => {
                self.content = match fetch() {
                    Ok(bytes) => ImageContent::Bytes(bytes),
                    Err(error) => ImageContent::Failed(error),
                };
            }
            content => self.content = content,
        }
        match &self.content {
            ImageContent::File(path) => inspect_file(path, inspect),
            ImageContent::Bytes(bytes) => {
                inspect(bytes);
                true
            }
            _ => false,
        }
    }

    fn bytes_in_memory(&self) -> usize {
        match &self.content {
            ImageContent::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }
}
