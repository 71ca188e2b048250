use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clipn_image::{ImageError, Origin, Preprocessing, ReadImage};

/// The most bytes of a picture that comes out of an archive, through a pipe or over the net.
pub const MAX_PICTURE_BYTES: u64 = 64 << 20;

/// A picture by its name.
#[derive(Debug)]
pub struct NamedPicture {
    /// What it is called in results: a path, or the archive's path and the name in it.
    pub name: String,
    /// Where its bytes are.
    pub content: Content,
}

/// Where a picture's bytes are.
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
    /// Somewhere that takes time; asked once, on the worker that decodes it.
    Fetch(Box<dyn FnMut() -> io::Result<Vec<u8>> + Send>),
    /// Nowhere: why the source could not give it.
    Lost(io::Error),
    /// Taken already.
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
    /// A file, called by its path.
    pub fn file(path: PathBuf) -> Self {
        Self {
            name: path.display().to_string(),
            content: Content::File(path),
        }
    }

    /// One that its source could not give.
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
        // Bytes leave memory as soon as they are decoded.
        let bytes = match std::mem::replace(&mut self.content, Content::Taken) {
            Content::File(path) => return preprocessing.file_into(&path, out),
            Content::Bytes(bytes) => bytes,
            Content::Fetch(mut fetch) => fetch().map_err(|error| self.unreadable(error))?,
            Content::Lost(error) => return Err(self.unreadable(error)),
            Content::Taken => return Err(self.unreadable(io::Error::other("it was read before"))),
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
