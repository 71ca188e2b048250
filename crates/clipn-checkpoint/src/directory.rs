//! Search for the weights file of a directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::file::Wanted;
use crate::format::{SIGNATURE_BYTES, detect_format};
use crate::{CheckpointError, distributed, shards};

/// File names of weights that open_clip looks for, in its order.
const OPEN_CLIP: [&str; 3] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
];

/// File names of weights that `transformers` looks for, in its order. Training checkpoints of this
/// project use the first.
const TRANSFORMERS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Maximum number of directory entries examined.
const MAX_ENTRIES: usize = 10_000;

/// Weights in a directory.
#[derive(Debug)]
pub(crate) enum WeightsLocation {
    /// A weights file, or the index of a sharded or distributed checkpoint.
    File(PathBuf),
    /// The first of the safetensors files that ranks wrote, without an index.
    RankFiles(PathBuf),
}

/// Finds the weights of `directory`: a file with a conventional name, else a distributed checkpoint,
/// else the only file whose content is that of a weights file. A directory with both open_clip and
/// `transformers` files has the same model twice; the open_clip file is preferred if its config is
/// present.
pub(crate) fn find_weights(directory: &Path) -> Result<WeightsLocation, CheckpointError> {
    // A link that leads nowhere is an error, not a reason to take other weights.
    let is_there = |name: &str| {
        let path = directory.join(name);
        path.is_file() || (path.is_symlink() && !path.exists())
    };
    if let Some(name) = preferred_weights_name(is_there) {
        return Ok(WeightsLocation::File(directory.join(name)));
    }
    if let Some(metadata) = distributed::metadata_in(directory) {
        return Ok(WeightsLocation::File(metadata));
    }
    if let Some(first) = distributed::shards_in(directory).first() {
        return Ok(WeightsLocation::RankFiles(directory.join(first)));
    }
    let mut candidates = files_by_content(directory);
    let chunks = candidates.iter().map(|name| directory.join(name));
    let chunks = chunks.filter(|path| distributed::has_chunks_extension(path));
    if let Some(path) = chunks.into_iter().next() {
        return Err(part_of_distributed(&path));
    }
    match candidates.as_slice() {
        [only] => Ok(WeightsLocation::File(directory.join(only))),
        [] => Err(CheckpointError::NoWeightsInDirectory {
            path: directory.to_owned(),
            subdirectories: subdirectories_with_weights(directory),
        }),
        _ => {
            candidates.truncate(5);
            Err(CheckpointError::AmbiguousDirectory {
                path: directory.to_owned(),
                candidates,
            })
        }
    }
}

/// Returns the error for a file that has only a part of a model, judged by its name.
pub(crate) fn part_of_checkpoint(path: &Path, wanted: Wanted<'_>) -> Option<CheckpointError> {
    if !path.is_file() {
        return None;
    }
    if distributed::has_chunks_extension(path) {
        return Some(part_of_distributed(path));
    }
    let name = path.file_name()?.to_string_lossy();
    let index = match wanted {
        Wanted::Tensors => return None,
        Wanted::Model(_) if distributed::is_shard_name(&name) => None,
        Wanted::Model(_) => Some(shards::index_of_shard(&name)?),
    };
    let found = index
        .as_ref()
        .is_some_and(|index| path.with_file_name(index).is_file());
    Some(CheckpointError::PartOfCheckpoint {
        path: path.to_owned(),
        index,
        found,
    })
}

fn part_of_distributed(path: &Path) -> CheckpointError {
    CheckpointError::PartOfCheckpoint {
        path: path.to_owned(),
        index: Some(distributed::METADATA.to_owned()),
        found: path.with_file_name(distributed::METADATA).is_file(),
    }
}

/// Returns the preferred conventional name of a weights file among those for which `exists` is
/// true.
///
/// [`Checkpoint::open`](crate::Checkpoint::open) applies it to the files of a directory. Apply it
/// to a listing to choose what to download from a repository.
///
/// ```
/// use clipn_checkpoint::preferred_weights_name;
///
/// let listing = ["config.json", "model.safetensors", "pytorch_model.bin"];
/// let name = preferred_weights_name(|name| listing.contains(&name));
/// assert_eq!(name, Some("model.safetensors"));
/// ```
pub fn preferred_weights_name(exists: impl Fn(&str) -> bool) -> Option<&'static str> {
    let first = |names: &[&'static str]| names.iter().find(|name| exists(name)).copied();
    match (first(&OPEN_CLIP), first(&TRANSFORMERS)) {
        (Some(open_clip), Some(_)) if exists("open_clip_config.json") => Some(open_clip),
        (open_clip, transformers) => transformers.or(open_clip),
    }
}

/// Whether `name` is a file name of weights that open_clip looks for.
pub fn is_open_clip_file_name(name: &str) -> bool {
    OPEN_CLIP.contains(&name)
}

/// Returns the sorted names of the files that begin like a weights file.
fn files_by_content(directory: &Path) -> Vec<String> {
    entries(directory, |path| has_weights_signature(path))
}

/// Whether `path` is a file that begins like a weights file.
///
/// The first 64 bytes are compared with the signatures of [`WeightsFormat`](crate::WeightsFormat).
pub fn has_weights_signature(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let mut head = Vec::new();
    let mut read = || {
        File::open(path).and_then(|file| file.take(SIGNATURE_BYTES as u64).read_to_end(&mut head))
    };
    path.is_file() && read().is_ok() && detect_format(path, &head).is_ok()
}

/// Returns up to five subdirectories with weights under a conventional name, such as the
/// checkpoints of a run.
fn subdirectories_with_weights(directory: &Path) -> Vec<String> {
    let holds = |path: &Path| {
        TRANSFORMERS
            .iter()
            .chain(&OPEN_CLIP)
            .any(|name| path.join(name).is_file())
            || distributed::metadata_in(path).is_some()
    };
    let mut found = entries(directory, holds);
    let nested = entries(&directory.join("checkpoints"), holds);
    found.extend(nested.into_iter().map(|name| format!("checkpoints/{name}")));
    found.truncate(5);
    found
}

fn entries(directory: &Path, keep: impl Fn(&Path) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some(entry.ok()?.path()));
    let names = paths
        .filter(|path| keep(path))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}
