use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::DownloadError;
use crate::cache::create_folder;
use clipn_base::progress::Progress;

/// How often a lock is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// One process or thread at a time fetches a file. Where the file system has no locks, there is none: then work may be
/// done twice.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Unlocked when it is closed.
    _file: Option<File>,
}

impl Lock {
    /// Waits for the lock and takes it.
    pub(crate) fn take(
        path: &Path,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<Self, DownloadError> {
        create_folder(path.parent().unwrap_or(path))?;
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|source| DownloadError::writing("open", path, source))?;
        let mut waits = false;
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
                    if !waits {
                        waits = true;
                        progress.begin(
                            &format!("waiting for another program that fetches {what}"),
                            0,
                        );
                    }
                    progress.advance(0);
                    std::thread::sleep(LOOK);
                }
            }
        };
        if waits {
            progress.end();
        }
        Ok(Self { _file: locked })
    }
}
