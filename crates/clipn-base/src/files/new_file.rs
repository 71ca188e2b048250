use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::temporary::{MAX_TRIES, TEMPORARY, own, random_path, remove_abandoned};
use super::{OutputFile, follow_links, parent, remove_file, rename, sync_directory};

/// A file that is written beside its name and takes it when complete.
///
/// - Its temporary name is random and created exclusively: no leftover and no link is written to.
/// - A symbolic link stays one: the file that it names is replaced.
/// - Permissions, and where allowed the owner, of a replaced file are kept.
/// - [`commit`](Self::commit) syncs file and directory. Without it, nothing is left.
#[derive(Debug)]
pub struct NewFile {
    file: OutputFile,
    temporary: PathBuf,
    target: PathBuf,
    is_committed: bool,
}

impl NewFile {
    /// Creates the temporary file. Removes those that killed writers of `target` left.
    ///
    /// # Errors
    /// Errors of the file system, [`io::ErrorKind::IsADirectory`] if the target is a directory, and
    /// [`io::ErrorKind::InvalidInput`] if it is another thing than a regular file, such as a device or a pipe.
    pub fn create(target: impl AsRef<Path>) -> io::Result<Self> {
        let target = follow_links(target.as_ref())?;
        let replaced = match fs::metadata(&target) {
            Ok(metadata) if metadata.is_file() => Some(metadata),
            Ok(metadata) if metadata.is_dir() => {
                return Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "it is a directory",
                ));
            }
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is not a regular file",
                ));
            }
            Err(_) => None,
        };
        remove_abandoned(&target);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options, replaced.as_ref());
        for _ in 0..MAX_TRIES {
            let temporary = random_path(&target, TEMPORARY);
            let file = match OutputFile::open(&temporary, &options) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            if !own(&temporary, file.file()) {
                continue;
            }
            let new = Self {
                file,
                temporary,
                target,
                is_committed: false,
            };
            if let Some(replaced) = &replaced {
                keep_attributes(&new.file, replaced)?;
            }
            return Ok(new);
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "no free temporary name",
        ))
    }

    /// Path of the temporary file.
    pub fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the file, renames it to the target and syncs the directory. After an error the target is
    /// unchanged, unless only syncing the directory failed.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_all()?;
        rename(&self.temporary, &self.target)?;
        self.is_committed = true;
        sync_directory(parent(&self.target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // An error of this cleanup would hide the one that matters.
            let _ = remove_file(&self.temporary);
        }
    }
}

/// A file that replaces a private one is private from the start.
#[cfg(unix)]
fn private(options: &mut OpenOptions, replaced: Option<&Metadata>) {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    if let Some(replaced) = replaced {
        options.mode(replaced.mode() & 0o777);
    }
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions, _: Option<&Metadata>) {}

#[cfg(unix)]
fn keep_attributes(file: &OutputFile, replaced: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let own = file.file().metadata()?;
    if (own.uid(), own.gid()) != (replaced.uid(), replaced.gid()) {
        // Only a privileged process may; another one keeps the file for itself.
        let _ = fchown(file.file(), Some(replaced.uid()), Some(replaced.gid()));
    }
    if own.mode() == replaced.mode() {
        return Ok(());
    }
    match file.file().set_permissions(replaced.permissions()) {
        // File systems without permissions.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        kept => kept,
    }
}

#[cfg(not(unix))]
fn keep_attributes(_: &OutputFile, _: &Metadata) -> io::Result<()> {
    Ok(())
}
