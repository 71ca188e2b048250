use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clipn_base::files::OutputFile;
use clipn_base::progress::Progress;
use sha2::{Digest, Sha256};

use crate::error::DownloadError;
use crate::transfer::CHUNK;

/// Partial file. Each writer keeps its own offset and does not append, so that concurrent downloads
/// of the same file cannot interleave their data.
#[derive(Debug)]
pub(super) struct PartialFile {
    file: OutputFile,
    path: PathBuf,
    len: u64,
}

impl PartialFile {
    /// Opens the partial file of an earlier run, or creates an empty one.
    pub(super) fn open(path: &Path) -> Result<Self, DownloadError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = OutputFile::open(path, &options);
        let opened = opened.and_then(|mut file| Ok((file.seek(SeekFrom::End(0))?, file)));
        let (len, file) = opened.map_err(|source| DownloadError::writing("open", path, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
        })
    }

    /// Number of bytes received so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Truncates the file to restart the download.
    pub(super) fn clear(&mut self) -> Result<(), DownloadError> {
        let cleared = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map_err(|source| DownloadError::writing("truncate", &self.path, source))?;
        self.len = 0;
        Ok(())
    }

    /// Writes the next bytes. `expected` is the total size, for the error if the disk is full.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        expected: Option<u64>,
    ) -> Result<(), DownloadError> {
        if let Err(source) = self.file.write_all(bytes) {
            // Drop a partial write.
            let _ = self.file.set_len(self.len);
            return Err(
                match (
                    DownloadError::writing("write", &self.path, source),
                    expected,
                ) {
                    (DownloadError::NoSpace { path, .. }, Some(size)) => DownloadError::NoSpace {
                        path,
                        size: readable_size(size),
                    },
                    (error, _) => error,
                },
            );
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// SHA-256 of the file on disk, in lower-case hexadecimal.
    pub(super) fn sha256(
        &mut self,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<String, DownloadError> {
        let reading = |source| DownloadError::writing("read", &self.path, source);
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        self.file.seek(SeekFrom::Start(0)).map_err(reading)?;
        loop {
            if progress.is_cancelled() {
                return Err(DownloadError::Cancelled {
                    what: what.to_owned(),
                });
            }
            match self.file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => {
                    hash.update(&chunk[..read]);
                    progress.advance(read as u64);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(reading(source)),
            }
        }
        Ok(hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// Flushes the file to disk, so that it survives a power failure.
    pub(super) fn sync(&self) -> Result<(), DownloadError> {
        self.file
            .sync_all()
            .map_err(|source| DownloadError::writing("write", &self.path, source))
    }
}

/// Size with a decimal unit.
fn readable_size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
