//! Which file of a folder holds its weights.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::recognise::recognise;

/// Weights under the names that open_clip looks for, in its order.
const OPEN_CLIP: [&str; 3] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
];

/// Weights under the names that `transformers` looks for, in its order. Training checkpoints of this project have the
/// first of them.
const TRANSFORMERS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Entries of a folder that are looked at.
const SEARCHED: usize = 10_000;

/// The file with the weights of `folder`: under a name that programs agree on, else the only one whose content is
/// that of a weights file. A folder of both open_clip and `transformers` has the same model twice; open_clip's is taken
/// where its config is there too.
pub(crate) fn weights_file(folder: &Path) -> Result<PathBuf, CheckpointError> {
    if let Some(name) = agreed_name(|name| folder.join(name).is_file()) {
        return Ok(folder.join(name));
    }
    let mut names = by_content(folder);
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

/// The file with the weights among those under names that programs agree on, where `is_there` tells which there are.
pub fn agreed_name(is_there: impl Fn(&str) -> bool) -> Option<&'static str> {
    let first = |names: &[&'static str]| names.iter().find(|name| is_there(name)).copied();
    match (first(&OPEN_CLIP), first(&TRANSFORMERS)) {
        (Some(open_clip), Some(_)) if is_there("open_clip_config.json") => Some(open_clip),
        (open_clip, transformers) => transformers.or(open_clip),
    }
}

/// Whether it is one of the names that open_clip looks for.
pub fn is_open_clip_name(name: &str) -> bool {
    OPEN_CLIP.contains(&name)
}

/// Names of the files that begin as weights files do, sorted.
fn by_content(folder: &Path) -> Vec<String> {
    entries(folder, begins_as_weights)
}

/// Whether the path is a file that begins as weights files do.
pub fn begins_as_weights(path: &Path) -> bool {
    let mut head = Vec::new();
    let mut read = || File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    path.is_file() && read().is_ok() && recognise(path, &head).is_ok()
}

/// Folders in it that hold weights under an agreed name, such as a run's checkpoints.
fn checkpoints(folder: &Path) -> Vec<String> {
    let holds = |path: &Path| {
        TRANSFORMERS
            .iter()
            .chain(&OPEN_CLIP)
            .any(|name| path.join(name).is_file())
    };
    let mut found = entries(folder, holds);
    let below = entries(&folder.join("checkpoints"), holds);
    found.extend(below.into_iter().map(|name| format!("checkpoints/{name}")));
    found.truncate(5);
    found
}

fn entries(folder: &Path, keep: impl Fn(&Path) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries
        .take(SEARCHED)
        .filter_map(|entry| Some(entry.ok()?.path()));
    let names = paths
        .filter(|path| keep(path))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}
