//! Write access to the cache, for downloads only.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clipn_base::files::{self, NewFile, Operation};

use crate::cache::Repository;
use crate::error::DownloadError;
use crate::hub_name::{is_commit, is_safe_path};

/// Maximum times that a file of a snapshot is replaced by a link: another process may make the same.
const MAX_REPLACEMENTS: usize = 4;

impl Repository {
    /// Path of the content of a file, by the ETag that the hub returns for it.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Path of the lock file for a blob. Python's huggingface_hub locks the same file.
    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Path of a file in a snapshot.
    pub(crate) fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.snapshot(commit).join(file)
    }

    /// Links a file of a snapshot to its blob: by a relative symbolic link, or if that is disabled
    /// or not supported, by a hard link or a copy. A link is made under its name in one step; whatever
    /// has the name is replaced.
    pub(crate) fn link(&self, etag: &str, commit: &str, file: &str) -> Result<(), DownloadError> {
        debug_assert!(is_safe_path(file));
        let pointer = self.pointer(commit, file);
        let failed = |source| DownloadError::writing("link", &pointer, source);
        create_directory(pointer.parent().unwrap_or(&self.root))?;
        let blob = self.blob(etag);
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&pointer).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let make = || {
            files::announce(Operation::Link, &pointer)?;
            let linked = if self.symlinks {
                symlink(&target, &pointer)
            } else {
                unsupported()
            };
            linked.or_else(|error| match error.kind() {
                ErrorKind::AlreadyExists => Err(error),
                _ => fs::hard_link(&blob, &pointer),
            })
        };
        for _ in 0..MAX_REPLACEMENTS {
            match make() {
                Ok(()) => return Ok(()),
                // Removed first, never written through: it may be a link to a blob that others share.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    match files::remove_file(&pointer) {
                        Err(error) if error.kind() != ErrorKind::NotFound => {
                            return Err(failed(error));
                        }
                        _ => {}
                    }
                }
                Err(_) => break,
            }
        }
        // Neither kind of link is supported.
        copy(&blob, &pointer).map_err(failed)
    }

    /// Records the commit of a branch or tag. Errors are ignored: the files themselves are
    /// complete.
    pub(crate) fn write_ref(&self, revision: &str, commit: &str) {
        if is_commit(revision) || self.cached_commit(revision).as_deref() == Some(commit) {
            return;
        }
        self.write_atomically(&self.root.join("refs").join(revision), commit);
    }

    /// Records that a snapshot lacks a file, as huggingface_hub does.
    pub(crate) fn mark_absent(&self, commit: &str, file: &str) {
        let path = self.absence_marker(commit, file);
        if !path.is_file() {
            self.write_atomically(&path, "");
        }
    }

    /// Replaces a small file atomically. Errors are ignored.
    fn write_atomically(&self, path: &Path, text: &str) {
        let directory = path.parent().unwrap_or(&self.root);
        let _ = files::create_directories(directory).and_then(|()| files::replace(path, text));
    }
}

/// Creates a directory and its parents.
pub(crate) fn create_directory(path: &Path) -> Result<(), DownloadError> {
    files::create_directories(path)
        .map_err(|source| DownloadError::writing("create directory", path, source))
}

/// Copies a blob to a file of a snapshot, which appears when it is complete.
fn copy(blob: &Path, pointer: &Path) -> std::io::Result<()> {
    let mut copy = NewFile::create(pointer)?;
    std::io::copy(&mut File::open(blob)?, &mut copy)?;
    copy.commit()
}

fn unsupported() -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    let target: PathBuf = target.components().collect();
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _link: &Path) -> std::io::Result<()> {
    unsupported()
}
