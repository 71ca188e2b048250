//! Files that keep state: replaced as a whole, owned by one process, and whole after a kill.
//!
//! | item | for |
//! |---|---|
//! | [`NewFile`], [`replace`] | a file that is written beside its name, synced and renamed |
//! | [`NewDirectory`] | the same for a directory of files |
//! | [`OutputFile`] | a file that is appended to |
//! | [`StateLock`] | one owner of a directory or file, released by the kernel when its process ends |
//! | [`MappedFile`] | a file that is mapped into memory, and whether it was changed meanwhile |
//! | [`FileLayer`] | what tests put between a command and the file system: faults at any operation |
//!
//! Everything that clipn writes goes through this module. A process killed at any operation leaves the
//! old or the new content under a name. What it leaves beside the name is removed by the next writer of
//! that name: temporary files are locked while they are written, so an unlocked one has no owner.
//!
//! ```
//! use std::io::Write;
//!
//! use clipn_base::files::{NewFile, StateLock, replace};
//!
//! # let directory = tempfile::tempdir()?;
//! let lock = StateLock::of_directory(directory.path())?;
//! let path = directory.path().join("settings.json");
//! replace(&path, b"{}\n")?;
//! let mut file = NewFile::create(&path)?;
//! file.write_all(b"{\"a\": 1}\n")?;
//! assert_eq!(std::fs::read(&path)?, b"{}\n");
//! file.commit()?;
//! assert_eq!(std::fs::read(&path)?, b"{\"a\": 1}\n");
//! assert!(StateLock::of_directory(directory.path()).is_err());
//! drop(lock);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod directory;
mod holder;
mod layer;
mod lock;
mod mapped;
mod mounts;
mod new_file;
mod output;
mod temporary;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use directory::{NewDirectory, remove_directory};
pub use holder::LockHolder;
pub use layer::{FileLayer, Operation};
#[doc(hidden)]
pub use layer::{announce, inject};
pub use lock::{LockError, StateLock};
pub use mapped::{ChangedFile, MappedFile, mapped_file_at};
pub use new_file::NewFile;
pub use output::OutputFile;

use layer::before;

/// Replaces the content of a file, or creates it: same as [`NewFile`] with all bytes at once.
///
/// # Errors
/// Same as [`NewFile::create`] and [`NewFile::commit`].
pub fn replace(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(content.as_ref())?;
    file.commit()
}

/// Maximum bytes of a text that people write, such as settings, lists and keys.
pub const MAX_TEXT: u64 = 64 << 20;

/// Reads a file or pipe of at most `limit` bytes: a device such as `/dev/zero` has no end.
///
/// # Errors
/// Errors of the file system, and [`io::ErrorKind::FileTooLarge`] for more bytes.
///
/// ```
/// use clipn_base::files::read_at_most;
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("keys.txt");
/// std::fs::write(&path, "abc")?;
/// assert_eq!(read_at_most(&path, 3)?, b"abc");
/// assert!(read_at_most(&path, 2).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_at_most(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    // The length of a file is known before it is read, that of a pipe is not.
    let length = file.metadata()?.len();
    if length <= limit {
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    if length.max(bytes.len() as u64) > limit {
        let message = format!("more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Reads a text in UTF-8 of at most [`MAX_TEXT`] bytes.
///
/// # Errors
/// Same as [`read_at_most`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read_at_most(path, MAX_TEXT)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Renames a file or directory.
///
/// # Errors
/// Errors of the file system.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    before(Operation::Rename, to.as_ref())?;
    fs::rename(from, to)
}

/// Removes a file.
///
/// # Errors
/// Errors of the file system, also if there is no such file.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    before(Operation::RemoveFile, path.as_ref())?;
    fs::remove_file(path)
}

/// Creates a directory and its parents, unless they exist.
///
/// # Errors
/// Errors of the file system.
pub fn create_directories(path: impl AsRef<Path>) -> io::Result<()> {
    if path.as_ref().is_dir() {
        return Ok(());
    }
    before(Operation::CreateDirectory, path.as_ref())?;
    fs::create_dir_all(path)
}

/// Syncs a directory, so that the names in it survive a crash of the machine. Does nothing on
/// platforms other than Unix.
///
/// # Errors
/// Errors of the file system, except that it cannot sync directories.
pub fn sync_directory(path: impl AsRef<Path>) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    before(Operation::SyncDirectory, path.as_ref())?;
    match File::open(path)?.sync_all() {
        // Some network and user-space file systems have no such operation.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        synced => synced,
    }
}

/// Returns the directory that a name is in.
fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Maximum number of symbolic links that are followed, as in the Linux kernel.
const MAX_LINKS: usize = 40;

/// Returns the path that a chain of symbolic links ends at, which need not exist; `path` itself if it
/// is no link.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = parent(&path).join(target),
            // Not a link, or nothing there.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

/// Whether a path still is the open file: it may have been removed or replaced.
fn is_same_file(path: &Path, file: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let (Ok(named), Ok(open)) = (fs::symlink_metadata(path), file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino()) == (open.dev(), open.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}
