use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clipn_image::{ImageError, Origin, Preprocessing, ReadImage};

/// Maximum size in bytes of an image from an archive, a pipe or the network.
pub const MAX_PICTURE_BYTES: u64 = 64 << 20;

/// An image with its name.
#[derive(Debug)]
pub struct NamedPicture {
    /// Name in results: a path, or the archive's path and the name in it.
    pub name: String,
    /// Source of the bytes.
    pub content: Content,
}

/// Source of an image's bytes.
pub enum Content {
    /// A file.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A slow source, called once, on the worker that decodes the image.
    Fetch(Box<dyn FnMut() -> io::Result<Vec<u8>> + Send>),
    /// The source failed with this error.
    Lost(io::Error),
    /// The bytes were already consumed.
    Taken,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Fetch(_) => f.write_str("Fetch"),
            Self::Lost(error) => f.debug_tuple("Lost").field(error).finish(),
            Self::Taken => f.write_str("Taken"),
        }
    }
}

impl NamedPicture {
    /// Creates an image from a file, named after its path.
    pub fn file(path: PathBuf) -> Self {
        Self {
            name: path.display().to_string(),
            content: Content::File(path),
        }
    }

    /// Creates an image whose source failed.
    pub fn lost(name: impl Into<String>, error: io::Error) -> Self {
        Self {
            name: name.into(),
            content: Content::Lost(error),
        }
    }

    fn unreadable(&self, source: io::Error) -> ImageError {
        ImageError::Read {
            origin: Origin::File(PathBuf::from(&self.name)),
            source,
        }
    }
}

impl ReadImage for NamedPicture {
    fn read_pixels(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        // Bytes are freed as soon as they are decoded.
        let bytes = match std::mem::replace(&mut self.content, Content::Taken) {
            Content::File(path) => return preprocessing.file_into(&path, out),
            Content::Bytes(bytes) => bytes,
            Content::Fetch(mut fetch) => fetch().map_err(|error| self.unreadable(error))?,
            Content::Lost(error) => return Err(self.unreadable(error)),
            Content::Taken => {
                return Err(self.unreadable(io::Error::other("the image was already read")));
            }
        };
        preprocessing
            .bytes_into(&bytes, out)
            .map_err(|error| error.in_file(Path::new(&self.name)))
    }

    fn held_bytes(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }
}
