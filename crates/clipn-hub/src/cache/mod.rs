//! Hugging Face's cache: `models--OWNER--NAME/` contains `blobs/` named by ETag,
//! `snapshots/COMMIT/` with links to them, and `refs/` with the commit of each branch and tag.

mod inventory;
#[cfg(feature = "download")]
mod write;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::hub_name::{HubName, is_commit};
use crate::settings::DownloadSettings;

pub use inventory::{CacheInventory, CachedWeights, IncompleteDownloads};
#[cfg(feature = "download")]
pub(crate) use write::create_directory;

/// Config file of open_clip's repositories.
pub(crate) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// Preprocessing config of `transformers`.
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";

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

/// Whether a weights file exists, and if it is an index, all of its shards.
fn is_complete(weights: &Path) -> bool {
    let is_index = weights.to_string_lossy().ends_with(".index.json");
    let has_shards = || {
        let parts = clipn_checkpoint::shard_names(weights);
        parts.is_ok_and(|parts| {
            parts
                .iter()
                .all(|part| weights.with_file_name(part).is_file())
        })
    };
    weights.is_file() && (!is_index || has_shards())
}

impl From<PathBuf> for CachedModel {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            notes: Vec::new(),
        }
    }
}

/// Finds the complete weights of a repository in the cache.
pub(crate) fn find_cached(name: &HubName, settings: &DownloadSettings) -> Option<CachedModel> {
    let repository = Repository::new(name, settings);
    let commit = repository.cached_commit(&name.revision)?;
    repository.weights(&commit, name.file.as_deref())
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

    /// Weights of a snapshot, or `file` in it, if all files that are needed to open them exist.
    pub(crate) fn weights(&self, commit: &str, file: Option<&str>) -> Option<CachedModel> {
        let snapshot = self.snapshot(commit);
        if let Some(file) = file {
            let path = snapshot.join(file);
            return is_complete(&path).then(|| path.into());
        }
        let Some(weights) =
            clipn_checkpoint::preferred_weights_name(|name| snapshot.join(name).is_file())
        else {
            let files = fs::read_dir(&snapshot)
                .ok()?
                .flatten()
                .filter(|entry| entry.path().is_file());
            let files: Vec<String> = files
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect();
            return match nonstandard_names(files.iter().map(String::as_str)).as_slice() {
                [only] => Some(snapshot.join(only).into()),
                _ => None,
            };
        };
        if !is_complete(&snapshot.join(weights)) {
            return None;
        }
        let notes = self.missing_config_notes(commit, weights);
        Some(CachedModel {
            path: snapshot,
            notes,
        })
    }

    /// Warns about a missing config. Other programs do not fetch configs that they do not need.
    fn missing_config_notes(&self, commit: &str, weights: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let has = |name: &str| snapshot.join(name).is_file();
        let lacks = |name: &str| !has(name) && !self.absence_marker(commit, name).is_file();
        let config = if clipn_checkpoint::is_open_clip_file_name(weights) {
            OPEN_CLIP_CONFIG
        } else if has("state.json") || has(OPEN_CLIP_CONFIG) {
            return Vec::new();
        } else if has("config.json") {
            PREPROCESSOR
        } else {
            "config.json"
        };
        let note = || {
            format!(
                "{config} is not in the cache; using the preprocessing of CLIP until it is fetched online"
            )
        };
        lacks(config).then(note).into_iter().collect()
    }

    /// Path of the marker that a snapshot lacks a file.
    fn absence_marker(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }
}
