//! Hugging Face's cache: `models--OWNER--NAME/` with `blobs/` named by etag, `snapshots/COMMIT/` of links to them, and
//! `refs/` with the commit of each branch and tag.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::name::{is_commit, is_inside};
use super::{HubName, Settings};
use crate::checkpoint;

/// The config of open_clip's repositories.
pub(super) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// Configs beside weights under names of `transformers`, or of no known name: its own, its preprocessing's, and that of
/// this project's checkpoints.
pub(super) const OTHER_CONFIGS: [&str; 4] = ["config.json", PREPROCESSOR, "state.json", OPEN_CLIP_CONFIG];

/// The preprocessing of `transformers`.
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";

/// Endings of weights under names of their own, the safest first.
const ENDINGS: [&str; 4] = [".safetensors", ".pt", ".pth", ".bin"];

/// Files in a repository's root that may be its weights under a name of their own: those with the safest ending.
pub(super) fn own_names<'a>(files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let rank = |file: &str| ENDINGS.iter().position(|ending| file.to_ascii_lowercase().ends_with(ending));
    let found: Vec<_> =
        files.filter(|file| !file.contains('/')).filter_map(|file| Some((rank(file)?, file))).collect();
    let best = found.iter().map(|(rank, _)| *rank).min();
    found.into_iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, file)| file).collect()
}

/// A repository in the cache, which may not be there.
#[derive(Debug)]
pub(super) struct Repository {
    root: PathBuf,
    #[cfg(feature = "download")]
    locks: PathBuf,
    #[cfg(feature = "download")]
    symlinks: bool,
}

/// Weights in the cache.
#[derive(Debug)]
pub(super) struct Cached {
    /// The snapshot's folder, or the file where weights are not told by the folder.
    pub(super) path: PathBuf,
    /// What should be known of the files.
    pub(super) notes: Vec<String>,
}

impl Repository {
    pub(super) fn of(name: &HubName, settings: &Settings) -> Self {
        let folder = format!("models--{}--{}", name.owner, name.name);
        Self {
            #[cfg(feature = "download")]
            locks: settings.cache.join(".locks").join(&folder),
            root: settings.cache.join(folder),
            #[cfg(feature = "download")]
            symlinks: settings.symlinks,
        }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The commit of a branch or tag when it was last asked for, or the revision itself where it is a commit.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let mut text = String::new();
        let file = File::open(self.root.join("refs").join(revision)).ok()?;
        file.take(256).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The weights of a snapshot, or `file` of it, where everything is there that opening them needs.
    pub(super) fn weights(&self, commit: &str, file: Option<&str>) -> Option<Cached> {
        let snapshot = self.snapshot(commit);
        if let Some(file) = file {
            let path = snapshot.join(file);
            return path.is_file().then(|| Cached { path, notes: Vec::new() });
        }
        let Some(weights) = checkpoint::agreed_name(|name| snapshot.join(name).is_file()) else {
            let files = fs::read_dir(&snapshot).ok()?.flatten().filter(|entry| entry.path().is_file());
            let files: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            return match own_names(files.iter().map(String::as_str)).as_slice() {
                [only] => Some(Cached { path: snapshot.join(only), notes: Vec::new() }),
                _ => None,
            };
        };
        if weights.ends_with(".index.json") {
            let parts = checkpoint::parts_of(&snapshot.join(weights)).ok()?;
            if !parts.iter().all(|part| snapshot.join(part).is_file()) {
                return None;
            }
        }
        let notes = self.unsaid(commit, weights);
        Some(Cached { path: snapshot, notes })
    }

    /// What other programs may have left out of the cache, which they do not need themselves.
    fn unsaid(&self, commit: &str, weights: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let has = |name: &str| snapshot.join(name).is_file();
        let lacks = |name: &str| !has(name) && !self.absent(commit, name).is_file();
        let wanted = if checkpoint::is_open_clip_name(weights) {
            OPEN_CLIP_CONFIG
        } else if has("state.json") || has(OPEN_CLIP_CONFIG) {
            return Vec::new();
        } else if has("config.json") {
            PREPROCESSOR
        } else {
            "config.json"
        };
        let note = || {
            format!("{wanted} is not in the cache, so CLIP's own preprocessing is taken; fetch it with a net")
        };
        lacks(wanted).then(note).into_iter().collect()
    }

    /// Where it is kept that a snapshot does not have a file.
    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }
}

/// Writing, which only fetching does.
#[cfg(feature = "download")]
mod write {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::DownloadError;
    use super::*;

    impl Repository {
        /// The content of a file, by the etag that the hub gives it.
        pub(in super::super) fn blob(&self, etag: &str) -> PathBuf {
            self.root.join("blobs").join(etag)
        }

        /// What is locked while a blob is fetched; Python's huggingface_hub locks the same file.
        pub(in super::super) fn lock(&self, etag: &str) -> PathBuf {
            self.locks.join(format!("{etag}.lock"))
        }

        /// Where a file of a snapshot is.
        pub(in super::super) fn pointer(&self, commit: &str, file: &str) -> PathBuf {
            self.snapshot(commit).join(file)
        }

        /// Lets the file of a snapshot be the blob: by a relative link, or where there are none by a hard link or copy.
        pub(in super::super) fn link(
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
        pub(in super::super) fn remember(&self, revision: &str, commit: &str) {
            if is_commit(revision) || self.commit_of(revision).as_deref() == Some(commit) {
                return;
            }
            self.put(&self.root.join("refs").join(revision), commit);
        }

        /// Keeps that a snapshot does not have a file, as huggingface_hub does.
        pub(in super::super) fn remember_absent(&self, commit: &str, file: &str) {
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

    pub(in super::super) fn create_folder(path: &Path) -> Result<(), DownloadError> {
        fs::create_dir_all(path).map_err(|source| DownloadError::writing("make the folder", path, source))
    }

    /// A name of this process's own in the same folder.
    fn beside(path: &Path) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
}

#[cfg(feature = "download")]
pub(super) use write::create_folder;
