use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::layer::{self, Operation, before};

/// A file that is open to write, such as one that is appended to. Every operation passes the
/// [`FileLayer`](super::FileLayer).
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    path: PathBuf,
    written: u64,
}

impl OutputFile {
    /// Opens a file with options that allow to write.
    ///
    /// # Errors
    /// Same as [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<Self> {
        let path = path.as_ref();
        before(Operation::Create, path)?;
        Ok(Self {
            file: options.open(path)?,
            path: path.to_owned(),
            written: 0,
        })
    }

    /// Creates a file.
    ///
    /// # Errors
    /// Same as [`File::create_new`].
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().write(true).create_new(true))
    }

    /// Path that the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, to read, lock or map it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Number of bytes written since the file was opened.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Same as [`File::set_len`].
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        before(Operation::SetLength, &self.path)?;
        self.file.set_len(length)
    }

    /// Syncs content and metadata to disk.
    ///
    /// # Errors
    /// Same as [`File::sync_all`].
    pub fn sync_all(&self) -> io::Result<()> {
        before(Operation::Sync, &self.path)?;
        self.file.sync_all()
    }

    /// Whether the path still is this file. Another program may have removed or replaced it, so that
    /// what is written is lost.
    pub fn is_in_place(&self) -> bool {
        match super::follow_links(&self.path) {
            Ok(path) => super::is_same_file(&path, &self.file),
            Err(_) => false,
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = layer::write(&self.path, &mut self.file, bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for OutputFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
