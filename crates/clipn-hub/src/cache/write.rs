//! Writing to the cache, which only fetching does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Repository;
use crate::DownloadError;
use crate::name::{is_commit, is_inside};

impl Repository {
    /// The content of a file, by the etag that the hub gives it.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// What is locked while a blob is fetched; Python's huggingface_hub locks the same file.
    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Where a file of a snapshot is.
    pub(crate) fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.snapshot(commit).join(file)
    }

    /// Lets the file of a snapshot be the blob: by a relative link, or where there are none by a hard link or copy.
    pub(crate) fn link(
        &self,
        etag: &str,
        commit: &str,
        file: &str,
    ) -> Result<(), DownloadError> {
        debug_assert!(is_inside(file));
        let pointer = self.pointer(commit, file);
        let folder = pointer.parent().unwrap_or(&self.root);
        create_folder(folder)?;
        let blob = self.blob(etag);
        let up = "../".repeat(2 + file.matches('/').count());
        let temporary = beside(&pointer);
        let linked = if self.symlinks {
            symlink(Path::new(&format!("{up}blobs/{etag}")), &temporary)
        } else {
            no_links()
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

    /// Keeps which commit a branch or tag is. That it cannot be kept harms nothing: the files are there.
    pub(crate) fn remember(&self, revision: &str, commit: &str) {
        if is_commit(revision) || self.commit_of(revision).as_deref() == Some(commit) {
            return;
        }
        self.put(&self.root.join("refs").join(revision), commit);
    }

    /// Keeps that a snapshot does not have a file, as huggingface_hub does.
    pub(crate) fn remember_absent(&self, commit: &str, file: &str) {
        let path = self.absent(commit, file);
        if !path.is_file() {
            self.put(&path, "");
        }
    }

    fn put(&self, path: &Path, text: &str) {
        let temporary = beside(path);
        let folder = path.parent().unwrap_or(&self.root);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&temporary, text));
        if written.and_then(|()| fs::rename(&temporary, path)).is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }
}

pub(crate) fn create_folder(path: &Path) -> Result<(), DownloadError> {
    fs::create_dir_all(path)
        .map_err(|source| DownloadError::writing("make the folder", path, source))
}

/// A name of this process's own in the same folder.
fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name:.100}.{}.{number}.tmp", std::process::id()))
}

fn no_links() -> std::io::Result<()> {
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
    no_links()
}
