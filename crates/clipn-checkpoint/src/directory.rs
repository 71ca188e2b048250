//! Search for the weights file of a directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::format::detect_format;

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

/// Finds the weights file of `directory`: a file with a conventional name, else the only one whose
/// content is that of a weights file. A directory with both open_clip and `transformers` files has
/// the same model twice; the open_clip file is preferred if its config is present.
pub(crate) fn find_weights_file(directory: &Path) -> Result<PathBuf, CheckpointError> {
    // A link that leads nowhere is an error, not a reason to take other weights.
    let is_there = |name: &str| {
        let path = directory.join(name);
        path.is_file() || (path.is_symlink() && !path.exists())
    };
    if let Some(name) = preferred_weights_name(is_there) {
        return Ok(directory.join(name));
    }
    let mut candidates = files_by_content(directory);
    match candidates.as_slice() {
        [only] => Ok(directory.join(only)),
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
/// The first 16 bytes are compared with the signatures of [`WeightsFormat`](crate::WeightsFormat).
pub fn has_weights_signature(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let mut head = Vec::new();
    let mut read = || File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
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
