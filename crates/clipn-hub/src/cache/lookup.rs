//! Search for the complete weights of a repository in the cache.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cache::{
    CachedModel, OPEN_CLIP_CONFIG, PREPROCESSOR, PROCESSOR, Repository, nonstandard_names,
};
use crate::error::{DownloadError, OfflineReason};
use crate::hub_name::{HubName, is_commit};
use crate::settings::DownloadSettings;

/// Maximum number of links that are followed from a snapshot to a file: one to the blob, one from
/// there to the shared store, and spare ones.
const MAX_LINKS: usize = 8;

/// Maximum size of a config or list of files that is read, in bytes.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Configs that say how weights are computed, of any weights but those with a name of open_clip.
const CONFIGS: [&str; 5] = [
    OPEN_CLIP_CONFIG,
    "config.json",
    PREPROCESSOR,
    PROCESSOR,
    "state.json",
];

/// Why a repository cannot be taken from the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheMiss {
    /// Nothing is cached, or not all files.
    Incomplete,
    /// The revision was never resolved, but the weights of these commits are complete.
    UnknownRevision(Vec<String>),
    /// Files are links that lead nowhere.
    BrokenLinks(BrokenLinks),
}

/// Files of a snapshot that are links to files that do not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokenLinks {
    /// First of the files.
    pub(crate) file: PathBuf,
    /// Missing file to which it leads.
    pub(crate) target: PathBuf,
    /// Number of the files.
    pub(crate) count: usize,
}

impl CacheMiss {
    /// Returns the error of weights that are not in the cache while downloads are disabled.
    pub(crate) fn into_error(
        self,
        name: &HubName,
        settings: &DownloadSettings,
        reason: OfflineReason,
    ) -> DownloadError {
        let (what, cache) = (name.to_string(), settings.cache.clone());
        match self {
            Self::Incomplete => DownloadError::NotCached {
                what,
                cache,
                reason,
            },
            Self::UnknownRevision(commits) => DownloadError::RevisionNotCached {
                what,
                cache,
                commits,
                reason,
            },
            Self::BrokenLinks(links) => DownloadError::BrokenLinks {
                what,
                file: links.file,
                target: links.target,
                count: links.count,
                reason,
            },
        }
    }
}

/// Finds the complete weights of a repository in the cache.
pub(crate) fn find_cached(
    name: &HubName,
    settings: &DownloadSettings,
) -> Result<CachedModel, CacheMiss> {
    let repository = Repository::new(name, settings);
    let Some(commit) = repository.cached_commit(&name.revision) else {
        return Err(repository.unknown_revision(name.file.as_deref()));
    };
    repository.weights(&commit, name.file.as_deref())
}

impl Repository {
    /// Weights of a snapshot, or `file` in it, if all files that are needed to open them exist. A
    /// link that leads nowhere is a file of the snapshot: other weights do not replace it.
    pub(crate) fn weights(
        &self,
        commit: &str,
        file: Option<&str>,
    ) -> Result<CachedModel, CacheMiss> {
        let snapshot = self.snapshot(commit);
        if let Some(file) = file {
            let path = snapshot.join(file);
            let directory = path.parent().unwrap_or(&snapshot);
            check_complete(&path)?;
            check_configs(directory, file)?;
            return Ok(path.into());
        }
        let Some(weights) = clipn_checkpoint::preferred_weights_name(|name| {
            is_file_or_broken(&snapshot.join(name))
        }) else {
            let entries = fs::read_dir(&snapshot).map_err(|_| CacheMiss::Incomplete)?;
            let files: Vec<String> = entries
                .flatten()
                .filter(|entry| is_file_or_broken(&entry.path()))
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect();
            let [only] = nonstandard_names(files.iter().map(String::as_str))[..] else {
                return Err(CacheMiss::Incomplete);
            };
            let path = snapshot.join(only);
            check_complete(&path)?;
            check_configs(&snapshot, only)?;
            return Ok(path.into());
        };
        check_complete(&snapshot.join(weights))?;
        check_configs(&snapshot, weights)?;
        let notes = self.missing_config_notes(commit, weights);
        Ok(CachedModel {
            path: snapshot,
            notes,
        })
    }

    /// The commits whose weights, or `file`, can be named in place of an unknown revision.
    fn unknown_revision(&self, file: Option<&str>) -> CacheMiss {
        let entries = fs::read_dir(self.root.join("snapshots"));
        let mut commits: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|commit| is_commit(commit) && self.weights(commit, file).is_ok())
            .collect();
        commits.sort_unstable();
        if commits.is_empty() {
            CacheMiss::Incomplete
        } else {
            CacheMiss::UnknownRevision(commits)
        }
    }

    /// Warns about a missing config. Other programs do not fetch configs that they do not need.
    fn missing_config_notes(&self, commit: &str, weights: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let has = |name: &str| snapshot.join(name).is_file();
        let lacks = |name: &str| !has(name) && !self.is_known_absent(commit, name);
        let clip = |config: &str| {
            format!(
                "{config} is not in the cache; using the preprocessing of CLIP until it is fetched online"
            )
        };
        let note = if clipn_checkpoint::is_open_clip_file_name(weights) {
            lacks(OPEN_CLIP_CONFIG).then(|| clip(OPEN_CLIP_CONFIG))
        } else if has("state.json") || has(OPEN_CLIP_CONFIG) {
            None
        } else if !has("config.json") {
            lacks("config.json").then(|| clip("config.json"))
        } else if has_image_processor(&snapshot.join(PROCESSOR)) {
            None
        } else if has(PREPROCESSOR) {
            lacks(PROCESSOR).then(|| {
                format!(
                    "{PROCESSOR} is not in the cache; using {PREPROCESSOR}, which it may override, \
                     until it is fetched online"
                )
            })
        } else {
            [PREPROCESSOR, PROCESSOR]
                .into_iter()
                .find(|name| lacks(name))
                .map(clip)
        };
        note.into_iter().collect()
    }

    /// Whether the repository is known to lack a file at this commit: by a marker of an earlier
    /// request, or by the list of files that huggingface_hub 2 keeps in `trees/`.
    fn is_known_absent(&self, commit: &str, file: &str) -> bool {
        let tree = self.root.join("trees").join(format!("{commit}.json"));
        self.absence_marker(commit, file).is_file()
            || read_json(&tree).is_some_and(|tree| {
                tree.get("format_version") == Some(&Value::from(1))
                    && tree
                        .get("files")
                        .and_then(Value::as_object)
                        .is_some_and(|files| !files.contains_key(file))
            })
    }

    /// Path of the marker that a snapshot lacks a file.
    pub(super) fn absence_marker(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }
}

/// Whether a file of `transformers` has an image processor. Older files of this name have none.
fn has_image_processor(path: &Path) -> bool {
    read_json(path).is_some_and(|value| value.get("image_processor").is_some_and(Value::is_object))
}

fn read_json(path: &Path) -> Option<Value> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_JSON_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Checks that a weights file exists, and if it is an index, all of its shards.
fn check_complete(weights: &Path) -> Result<(), CacheMiss> {
    let mut files = vec![weights.to_owned()];
    if weights.is_file() && weights.to_string_lossy().ends_with(".index.json") {
        let parts = clipn_checkpoint::shard_names(weights).map_err(|_| CacheMiss::Incomplete)?;
        files.extend(parts.iter().map(|part| weights.with_file_name(part)));
    }
    check_links(&files)?;
    if files.iter().all(|file| file.is_file()) {
        Ok(())
    } else {
        Err(CacheMiss::Incomplete)
    }
}

/// Checks that no config of weights in a directory is a link that leads nowhere: the repository has
/// it, and without it the weights would be computed otherwise.
fn check_configs(directory: &Path, weights: &str) -> Result<(), CacheMiss> {
    let name = weights.rsplit('/').next().unwrap_or(weights);
    let configs = if clipn_checkpoint::is_open_clip_file_name(name) {
        &CONFIGS[..1]
    } else {
        &CONFIGS[..]
    };
    let paths: Vec<PathBuf> = configs.iter().map(|name| directory.join(name)).collect();
    check_links(&paths)
}

fn check_links(files: &[PathBuf]) -> Result<(), CacheMiss> {
    let mut broken = files
        .iter()
        .filter_map(|file| Some((file, broken_target(file)?)));
    match broken.next() {
        None => Ok(()),
        Some((file, target)) => Err(CacheMiss::BrokenLinks(BrokenLinks {
            file: file.clone(),
            target,
            count: 1 + broken.count(),
        })),
    }
}

fn is_file_or_broken(path: &Path) -> bool {
    path.is_file() || broken_target(path).is_some()
}

/// Missing file to which a link leads, over other links; `None` if `path` is no link or leads to
/// anything that exists.
pub(super) fn broken_target(path: &Path) -> Option<PathBuf> {
    if !path.is_symlink() || fs::metadata(path).is_ok() {
        return None;
    }
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else {
            break;
        };
        target = normalized(&target.parent().unwrap_or(Path::new("")).join(next));
    }
    Some(target)
}

/// Path without `..` after a directory name, for messages.
fn normalized(path: &Path) -> PathBuf {
    use std::path::Component;

    let mut whole = PathBuf::new();
    for part in path.components() {
        match (part, whole.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => {
                whole.pop();
            }
            (part, _) => whole.push(part),
        }
    }
    whole
}
