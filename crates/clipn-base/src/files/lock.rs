//! One owner of a directory or file of state.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::holder::LockHolder;
use super::{follow_links, is_same_file, mounts, parent};

/// Name of the lock file in a directory of state.
const LOCK_FILE: &str = ".lock";
/// Attempts at a lock, [`RETRY`] apart: a writer that has just finished may hold it for a moment.
const MAX_ATTEMPTS: usize = 5;
const RETRY: Duration = Duration::from_millis(20);

/// Error of a [`StateLock`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has the lock.
    #[error("{} is in use by {holder}", path.display())]
    InUse {
        /// Directory or file.
        path: PathBuf,
        /// The process.
        holder: LockHolder,
    },
    /// The lock file cannot be created, or the file to lock cannot be opened.
    #[error("cannot lock {}", path.display())]
    Io {
        /// Directory or file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Exclusive use of a directory or file of state. The kernel releases it when the process ends in any
/// way, also on network file systems that pass locks to their server.
#[derive(Debug)]
pub struct StateLock {
    file: File,
    /// Lock file that is removed with the lock.
    lock_file: Option<PathBuf>,
    warning: Option<String>,
}

impl StateLock {
    /// Locks an existing directory by a file `.lock` in it, which names its holder and is removed
    /// with the lock.
    ///
    /// # Errors
    /// [`LockError::InUse`] if another process has the lock, [`LockError::Io`] if the lock file cannot
    /// be created.
    pub fn of_directory(directory: impl AsRef<Path>) -> Result<Self, LockError> {
        let directory = directory.as_ref();
        let path = directory.join(LOCK_FILE);
        let io = |source| LockError::Io {
            path: directory.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = Self::acquire(
            directory,
            || options.open(&path).map_err(io),
            |file| is_same_file(&path, file),
            LockHolder::from_record,
        )?;
        LockHolder::record(&lock.file);
        // Elsewhere, it cannot be seen whether an open lock file was removed meanwhile.
        lock.lock_file = cfg!(unix).then_some(path);
        Ok(lock)
    }

    /// Locks an existing file that is replaced by renaming: the lock holds for the name, whatever file
    /// has it. `None` if there is no such file.
    ///
    /// # Errors
    /// Same as [`of_directory`](Self::of_directory).
    pub fn of_file(path: impl AsRef<Path>) -> Result<Option<Self>, LockError> {
        let path = path.as_ref();
        let io = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let target = follow_links(path).map_err(io)?;
        if !fs::metadata(&target).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let open = || {
            let mut options = OpenOptions::new();
            // Network file systems lock only what is open to write.
            let opened = options.read(true).write(true).open(&target);
            opened.or_else(|_| File::open(&target)).map_err(io)
        };
        let is_current = |file: &File| is_same_file(&target, file);
        Self::acquire(path, open, is_current, LockHolder::from_kernel).map(Some)
    }

    /// Locks a file that is open to write at this path. A file that its last holder has removed or replaced meanwhile
    /// counts as in use.
    ///
    /// # Errors
    /// Same as [`of_directory`](Self::of_directory).
    pub fn of_open_file(path: impl AsRef<Path>, file: &File) -> Result<Self, LockError> {
        let path = path.as_ref();
        let open = || {
            file.try_clone().map_err(|source| LockError::Io {
                path: path.to_owned(),
                source,
            })
        };
        let is_current =
            |file: &File| follow_links(path).is_ok_and(|target| is_same_file(&target, file));
        Self::acquire(path, open, is_current, LockHolder::from_kernel)
    }

    fn acquire(
        path: &Path,
        open: impl Fn() -> Result<File, LockError>,
        is_current: impl Fn(&File) -> bool,
        holder: impl Fn(&File) -> LockHolder,
    ) -> Result<Self, LockError> {
        let mut found = LockHolder::default();
        for _ in 0..MAX_ATTEMPTS {
            let file = open()?;
            let warning = match file.try_lock() {
                // Else its last holder has just removed or replaced it.
                Ok(()) if !is_current(&file) => continue,
                Ok(()) => mounts::local_locks(if path.is_dir() { path } else { parent(path) }),
                Err(TryLockError::WouldBlock) => {
                    found = holder(&file);
                    sleep(RETRY);
                    continue;
                }
                Err(TryLockError::Error(error)) => {
                    Some(format!("the file system cannot lock ({error})"))
                }
            };
            return Ok(Self {
                file,
                lock_file: None,
                warning: warning.map(|why| {
                    format!(
                        "cannot exclude other processes from {}: {why}",
                        path.display()
                    )
                }),
            });
        }
        Err(LockError::InUse {
            path: path.to_owned(),
            holder: found,
        })
    }

    /// Why the lock does not exclude other processes, or only those of this machine; `None` if it
    /// does.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        if let Some(path) = &self.lock_file {
            let _ = fs::remove_file(path);
        }
        // Closing the file unlocks it too, but not if another thread is just spawning a process that
        // inherits the file.
        let _ = self.file.unlock();
    }
}
