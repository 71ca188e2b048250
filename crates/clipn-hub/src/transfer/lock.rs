use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use clipn_base::progress::Progress;

use crate::cache::create_directory;
use crate::error::DownloadError;

/// Polling interval of the lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// File lock, so that one process or thread at a time downloads a file. If the file system does not
/// support locks, none is taken, and a file may be downloaded twice.
#[derive(Debug)]
pub(crate) struct FileLock {
    /// Open file; closing it releases the lock.
    _file: Option<File>,
}

impl FileLock {
    /// Waits for the lock and acquires it.
    ///
    /// # Errors
    /// [`DownloadError::Cancelled`] if the download is cancelled meanwhile, or an I/O error of the
    /// lock file.
    pub(crate) fn acquire(
        path: &Path,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<Self, DownloadError> {
        create_directory(path.parent().unwrap_or(path))?;
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|source| DownloadError::writing("open", path, source))?;
        let mut is_waiting = false;
        let locked = loop {
            match file.try_lock() {
                Ok(()) => break Some(file),
                Err(TryLockError::Error(_)) => break None,
                Err(TryLockError::WouldBlock) if progress.is_cancelled() => {
                    return Err(DownloadError::Cancelled {
                        what: what.to_owned(),
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    if !is_waiting {
                        is_waiting = true;
                        progress.begin(
                            &format!("waiting for another process that downloads {what}"),
                            0,
                        );
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
