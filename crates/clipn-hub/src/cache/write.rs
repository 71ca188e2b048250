//! Write access to the cache, for downloads only.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::Repository;
use crate::error::DownloadError;
use crate::hub_name::{is_commit, is_safe_path};

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
    /// or not supported, by a hard link or a copy. The file is replaced atomically.
    pub(crate) fn link(&self, etag: &str, commit: &str, file: &str) -> Result<(), DownloadError> {
        debug_assert!(is_safe_path(file));
        let pointer = self.pointer(commit, file);
        let directory = pointer.parent().unwrap_or(&self.root);
        create_directory(directory)?;
        let blob = self.blob(etag);
        let up = "../".repeat(2 + file.matches('/').count());
        let temporary = temporary_path(&pointer);
        let linked = if self.symlinks {
            symlink(Path::new(&format!("{up}blobs/{etag}")), &temporary)
        } else {
            unsupported()
        };
        linked
            .or_else(|_| fs::hard_link(&blob, &temporary))
            .or_else(|_| fs::copy(&blob, &temporary).map(drop))
            .and_then(|()| fs::rename(&temporary, &pointer))
            .map_err(|source| {
                let _ = fs::remove_file(&temporary);
                DownloadError::writing("link", &pointer, source)
            })
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
        let temporary = temporary_path(path);
        let directory = path.parent().unwrap_or(&self.root);
        let written = fs::create_dir_all(directory).and_then(|()| fs::write(&temporary, text));
        if written.and_then(|()| fs::rename(&temporary, path)).is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }
}

/// Creates a directory and its parents.
pub(crate) fn create_directory(path: &Path) -> Result<(), DownloadError> {
    fs::create_dir_all(path)
        .map_err(|source| DownloadError::writing("create directory", path, source))
}

/// A path in the same directory that no other process or thread uses.
fn temporary_path(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name:.100}.{}.{number}.tmp", std::process::id()))
}

fn unsupported() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
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
