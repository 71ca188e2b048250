//! What stands between a command and the file system.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

/// An operation that changes what is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Creates a file, or opens one to write.
    Create,
    /// Writes bytes.
    Write,
    /// Cuts or extends a file.
    SetLength,
    /// Syncs a file.
    Sync,
    /// Syncs a directory.
    SyncDirectory,
    /// Renames a file or directory.
    Rename,
    /// Swaps the names of two directories.
    Exchange,
    /// Creates a symbolic or hard link.
    Link,
    /// Creates a directory.
    CreateDirectory,
    /// Removes a file.
    RemoveFile,
    /// Removes a directory with its files.
    RemoveDirectory,
}

/// A layer below all operations of this module. Tests inject one that fails or ends the process at a
/// chosen operation, as a full disk or a kill would.
pub trait FileLayer: Debug + Send + Sync {
    /// Called before an operation on a path.
    ///
    /// # Errors
    /// The error that the operation fails with instead of being done.
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()>;

    /// Writes some of the bytes to a file, as [`Write::write`]. A kill may leave a part of them.
    ///
    /// # Errors
    /// Those of [`before`](Self::before) and of the file.
    fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        self.before(Operation::Write, path)?;
        file.write(bytes)
    }
}

static INJECTED: OnceLock<Box<dyn FileLayer>> = OnceLock::new();

/// Puts a layer below all later operations of this process. Only the first call has an effect.
#[doc(hidden)]
pub fn inject(layer: Box<dyn FileLayer>) {
    let _ = INJECTED.set(layer);
}

/// Announces an operation to the injected layer.
pub(super) fn before(operation: Operation, path: &Path) -> io::Result<()> {
    match INJECTED.get() {
        Some(layer) => layer.before(operation, path),
        None => Ok(()),
    }
}

/// Announces an operation that is outside this module.
///
/// # Errors
/// The error of the injected layer.
#[doc(hidden)]
pub fn announce(operation: Operation, path: &Path) -> io::Result<()> {
    before(operation, path)
}

/// Writes through the injected layer.
pub(super) fn write(path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    match INJECTED.get() {
        Some(layer) => layer.write(path, file, bytes),
        None => file.write(bytes),
    }
}
