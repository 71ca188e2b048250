//! Hugging Face's cache: `models--OWNER--NAME/` with `blobs/` named by etag, `snapshots/COMMIT/` of links to them, and
//! `refs/` with the commit of each branch and tag.

mod held;
#[cfg(feature = "download")]
mod write;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::name::is_commit;
use super::{HubName, Settings};

pub use held::{Held, HeldWeights, Unfinished};
#[cfg(feature = "download")]
pub(crate) use write::create_folder;

/// The config of open_clip's repositories.
pub(crate) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// The preprocessing of `transformers`.
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";

/// Endings of weights under names of their own, the safest first.
const ENDINGS: [&str; 4] = [".safetensors", ".pt", ".pth", ".bin"];

/// Files in a repository's root that may be its weights under a name of their own: those with the safest ending.
pub(crate) fn own_names<'a>(files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let rank = |file: &str| {
        ENDINGS
            .iter()
            .position(|ending| file.to_ascii_lowercase().ends_with(ending))
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

/// Whether a file of weights is there, and where it is the index of several, they too.
fn is_whole(weights: &Path) -> bool {
    let is_index = weights.to_string_lossy().ends_with(".index.json");
    let has_parts = || {
        let parts = clipn_checkpoint::parts_of(weights);
        parts.is_ok_and(|parts| {
            parts
                .iter()
                .all(|part| weights.with_file_name(part).is_file())
        })
    };
    weights.is_file() && (!is_index || has_parts())
}

/// A repository in the cache, which may not be there.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
    #[cfg(feature = "download")]
    locks: PathBuf,
    #[cfg(feature = "download")]
    symlinks: bool,
}

/// Weights in the cache.
#[derive(Debug)]
pub(crate) struct Cached {
    /// The snapshot's folder, or the file where weights are not told by the folder.
    pub(crate) path: PathBuf,
    /// What should be known of the files.
    pub(crate) notes: Vec<String>,
}

impl Repository {
    pub(crate) fn of(name: &HubName, settings: &Settings) -> Self {
        let folder = format!("models--{}--{}", name.owner, name.name);
        Self {
            #[cfg(feature = "download")]
            locks: settings.cache.join(".locks").join(&folder),
            root: settings.cache.join(folder),
            #[cfg(feature = "download")]
            symlinks: settings.symlinks,
        }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The commit of a branch or tag when it was last asked for, or the revision itself where it is a commit.
    pub(crate) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let mut text = String::new();
        let file = File::open(self.root.join("refs").join(revision)).ok()?;
        file.take(256).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The weights of a snapshot, or `file` of it, where everything is there that opening them needs.
    pub(crate) fn weights(&self, commit: &str, file: Option<&str>) -> Option<Cached> {
        let snapshot = self.snapshot(commit);
        if let Some(file) = file {
            let path = snapshot.join(file);
            return is_whole(&path).then(|| Cached {
                path,
                notes: Vec::new(),
            });
        }
        let Some(weights) = clipn_checkpoint::agreed_name(|name| snapshot.join(name).is_file()) else {
            let files = fs::read_dir(&snapshot)
                .ok()?
                .flatten()
                .filter(|entry| entry.path().is_file());
            let files: Vec<String> = files
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect();
            return match own_names(files.iter().map(String::as_str)).as_slice() {
                [only] => Some(Cached {
                    path: snapshot.join(only),
                    notes: Vec::new(),
                }),
                _ => None,
            };
        };
        if !is_whole(&snapshot.join(weights)) {
            return None;
        }
        let notes = self.unsaid(commit, weights);
        Some(Cached {
            path: snapshot,
            notes,
        })
    }

    /// What other programs may have left out of the cache, which they do not need themselves.
    fn unsaid(&self, commit: &str, weights: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let has = |name: &str| snapshot.join(name).is_file();
        let lacks = |name: &str| !has(name) && !self.absent(commit, name).is_file();
        let wanted = if clipn_checkpoint::is_open_clip_name(weights) {
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
                "{wanted} is not in the cache, so CLIP's own preprocessing is taken; fetch it with a net"
            )
        };
        lacks(wanted).then(note).into_iter().collect()
    }

    /// Where it is kept that a snapshot does not have a file.
    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }
}
