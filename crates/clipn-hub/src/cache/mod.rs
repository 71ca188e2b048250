//! Hugging Face's cache: `models--OWNER--NAME/` contains `blobs/` named by ETag,
//! `snapshots/COMMIT/` with links to them, and `refs/` with the commit of each branch and tag.
//!
//! Version 2 of huggingface_hub keeps large files in one store for all repositories: `blobs/XX/HASH`
//! beside the repositories, whose own `blobs/` then contain links to it. Files are read through
//! these links. They are never written through them: a download replaces the link.

mod inventory;
mod lookup;
#[cfg(feature = "download")]
mod write;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::hub_name::{HubName, is_commit};
use crate::settings::DownloadSettings;

pub(crate) use lookup::find_cached;

pub use inventory::{CacheInventory, CachedWeights, IncompleteDownloads};
#[cfg(feature = "download")]
pub(crate) use write::create_directory;

/// Config file of open_clip's repositories.
pub(crate) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// Preprocessing config of `transformers` before version 5.
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";

/// Preprocessing config of `transformers` 5, which comes before the older one.
pub(crate) const PROCESSOR: &str = "processor_config.json";

/// Extensions of weights files with non-standard names, in order of preference: the safest first.
const EXTENSIONS: [&str; 4] = [".safetensors", ".pt", ".pth", ".bin"];

/// Candidates for weights with a non-standard name: files in the root of a repository with the most
/// preferred extension that occurs.
pub(crate) fn nonstandard_names<'a>(files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let rank = |file: &str| {
        EXTENSIONS
            .iter()
            .position(|extension| file.to_ascii_lowercase().ends_with(extension))
    };
    let found: Vec<_> = files
        .filter(|file| !file.contains('/'))
        .filter_map(|file| Some((rank(file)?, file)))
        .collect();
    let best = found.iter().map(|(rank, _)| *rank).min();
    found
        .into_iter()
        .filter(|(rank, _)| Some(*rank) == best)
        .map(|(_, file)| file)
        .collect()
}

impl From<PathBuf> for CachedModel {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            notes: Vec::new(),
        }
    }
}

/// Path in the cache of a file that is identified by its URL: `SHA256/NAME`.
pub(crate) fn url_file_path(url: &str, sha256: &str, settings: &DownloadSettings) -> PathBuf {
    let name = url.rsplit('/').next().unwrap_or_default();
    settings.url_files_dir().join(sha256).join(name)
}

/// Location of a repository in the cache. It may not exist.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
    #[cfg(feature = "download")]
    locks: PathBuf,
    #[cfg(feature = "download")]
    symlinks: bool,
}

/// Complete weights in the cache.
#[derive(Debug)]
pub(crate) struct CachedModel {
    /// Directory of the snapshot, or the weights file if its name is not a standard one.
    pub(crate) path: PathBuf,
    /// Warnings about the files.
    pub(crate) notes: Vec<String>,
}

impl Repository {
    pub(crate) fn new(name: &HubName, settings: &DownloadSettings) -> Self {
        let directory = format!("models--{}--{}", name.owner, name.name);
        Self {
            #[cfg(feature = "download")]
            locks: settings.cache.join(".locks").join(&directory),
            root: settings.cache.join(directory),
            #[cfg(feature = "download")]
            symlinks: settings.symlinks,
        }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Commit of a branch or tag when it was last queried, or the revision itself if it is a
    /// commit.
    pub(crate) fn cached_commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let mut text = String::new();
        let file = File::open(self.root.join("refs").join(revision)).ok()?;
        file.take(256).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }
}
