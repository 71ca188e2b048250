use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use clipn_base::progress::Progress;

use crate::negatives::NegativesError;

/// Polling interval of the lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// File lock, so that one process or thread at a time encodes a word list. If the file system does not
/// support locks, none is taken, and a list may be encoded twice.
#[derive(Debug)]
pub(super) struct CacheLock {
    /// Open file; closing it releases the lock.
    _file: Option<File>,
}

impl CacheLock {
    /// Waits for the lock and acquires it.
    ///
    /// # Errors
    /// [`NegativesError::Cancelled`] if the progress is cancelled meanwhile, or
    /// [`NegativesError::Cache`] if the lock file cannot be opened.
    pub(crate) fn acquire(path: &Path, progress: &dyn Progress) -> Result<Self, NegativesError> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|source| NegativesError::Cache {
            action: "lock",
            path: path.to_owned(),
            source,
        })?;
        let mut is_waiting = false;
        let locked = loop {
            match file.try_lock() {
                Ok(()) => break Some(file),
                Err(TryLockError::Error(_)) => break None,
                Err(TryLockError::WouldBlock) if progress.is_cancelled() => {
                    return Err(NegativesError::Cancelled);
                }
                Err(TryLockError::WouldBlock) => {
                    if !is_waiting {
                        is_waiting = true;
                        progress.begin("waiting for another process that encodes these words", 0);
                    }
                    progress.advance(0);
                    std::thread::sleep(LOCK_POLL);
                }
            }
        };
        if is_waiting {
            progress.end();
        }
        Ok(Self { _file: locked })
    }
}
