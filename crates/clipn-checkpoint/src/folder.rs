//! Search for the weights file of a directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::recognise::recognise;

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

/// Finds the weights file of `folder`: a file with a conventional name, else the only one whose
/// content is that of a weights file. A directory with both open_clip and `transformers` files has
/// the same model twice; the open_clip file is preferred if its config is present.
pub(crate) fn find_weights_file(folder: &Path) -> Result<PathBuf, CheckpointError> {
    if let Some(name) = preferred_weights_name(|name| folder.join(name).is_file()) {
        return Ok(folder.join(name));
    }
    let mut names = files_by_content(folder);
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => Ok(folder.join(only)),
        (last, _) => {
            names.extend(last);
            names.truncate(5);
            Err(CheckpointError::Folder {
                path: folder.to_owned(),
                found: names,
                inside: checkpoints(folder),
            })
        }
    }
}

/// Returns the preferred conventional name among those for which `exists` is true.
pub fn preferred_weights_name(exists: impl Fn(&str) -> bool) -> Option<&'static str> {
    let first = |names: &[&'static str]| names.iter().find(|name| exists(name)).copied();
    match (first(&OPEN_CLIP), first(&TRANSFORMERS)) {
        (Some(open_clip), Some(_)) if exists("open_clip_config.json") => Some(open_clip),
        (open_clip, transformers) => transformers.or(open_clip),
    }
}

/// Whether `name` is a file name that open_clip looks for.
pub fn is_open_clip_file_name(name: &str) -> bool {
    OPEN_CLIP.contains(&name)
}

/// Returns the sorted names of the files that begin like a weights file.
fn files_by_content(folder: &Path) -> Vec<String> {
    entries(folder, has_weights_signature)
}

/// Whether `path` is a file that begins like a weights file.
pub fn has_weights_signature(path: &Path) -> bool {
    let mut head = Vec::new();
    let mut read = || File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    path.is_file() && read().is_ok() && recognise(path, &head).is_ok()
}

/// Returns up to five subdirectories with weights under a conventional name, such as the
/// checkpoints of a run.
fn checkpoints(folder: &Path) -> Vec<String> {
    let holds = |path: &Path| {
        TRANSFORMERS
            .iter()
            .chain(&OPEN_CLIP)
            .any(|name| path.join(name).is_file())
    };
    let mut found = entries(folder, holds);
    let nested = entries(&folder.join("checkpoints"), holds);
    found.extend(nested.into_iter().map(|name| format!("checkpoints/{name}")));
    found.truncate(5);
    found
}

fn entries(folder: &Path, keep: impl Fn(&Path) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
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
