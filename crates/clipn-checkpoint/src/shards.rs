//! Weights in several files: an index (`*.index.json`) that names the file of each tensor.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;

use super::budget::Budget;
use super::error::shown;
use super::open::{File, file};
use super::{CheckpointError, FileKind, Tensor};

/// The largest index that is read. Those of models with tens of thousands of tensors have a few megabytes.
const LARGEST_INDEX: u64 = 16 << 20;

/// The index, as far as it says where tensors are.
#[derive(Deserialize)]
struct Index {
    weight_map: IndexMap<String, String>,
}

/// The tensors of all parts.
pub(crate) struct Parts {
    pub(crate) kind: FileKind,
    pub(crate) tensors: IndexMap<String, Tensor>,
    /// The files.
    pub(crate) paths: Vec<PathBuf>,
    /// Memory that they may still cause to be taken, together.
    pub(crate) budget: Budget,
}

/// Reads the index at `path` and the files that it names, which lie beside it.
pub(crate) fn read(path: &Path) -> Result<Parts, CheckpointError> {
    let index = read_index(path)?;
    let mut files: IndexMap<&str, File> = IndexMap::new();
    let mut tensors = IndexMap::new();
    for (name, part) in &index.weight_map {
        if !files.contains_key(part.as_str()) {
            files.insert(part, open_part(path, name, part)?);
        }
        let tensor = files
            .get(part.as_str())
            .and_then(|file| file.tensors.get(name));
        let Some(tensor) = tensor else {
            let what = format!(
                "it says that {} is in {}, which does not hold it",
                shown(name),
                shown(part)
            );
            return Err(CheckpointError::Index {
                path: path.to_owned(),
                what,
            });
        };
        tensors.insert(name.clone(), tensor.clone());
    }
    let Some(kind) = files.first().map(|(_, file)| file.kind) else {
        return Err(CheckpointError::Index {
            path: path.to_owned(),
            what: "it names no tensor".to_owned(),
        });
    };
    let paths = files.keys().map(|part| path.with_file_name(part)).collect();
    let budget = files
        .values()
        .fold(Budget::for_file(0), |sum, file| sum.and(&file.budget));
    Ok(Parts {
        kind,
        tensors,
        paths,
        budget,
    })
}

/// The names of the files that an index names, each once, which lie in its folder.
pub fn parts_of(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut parts = IndexSet::new();
    for (name, part) in read_index(path)?.weight_map {
        if !parts.contains(&part) {
            part_path(path, &name, &part)?;
            parts.insert(part);
        }
    }
    Ok(parts.into_iter().collect())
}

/// Whether the file looks like an index: JSON with a `weight_map`.
pub(crate) fn is_index(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace());
    start.is_some_and(|start| bytes[start] == b'{')
        && bytes.len() as u64 <= LARGEST_INDEX
        && bytes
            .windows(WEIGHT_MAP.len())
            .any(|window| window == WEIGHT_MAP)
}

const WEIGHT_MAP: &[u8] = b"\"weight_map\"";

fn read_index(path: &Path) -> Result<Index, CheckpointError> {
    let bad = |what: String| CheckpointError::Index {
        path: path.to_owned(),
        what,
    };
    let mut json = Vec::new();
    let opened = std::fs::File::open(path)
        .map_err(|error| super::open::system_error(path, "open", error))?;
    let read = opened.take(LARGEST_INDEX + 1).read_to_end(&mut json);
    read.map_err(|error| super::open::system_error(path, "read", error))?;
    if json.len() as u64 > LARGEST_INDEX {
        return Err(bad(format!("it is larger than {} MB", LARGEST_INDEX >> 20)));
    }
    serde_json::from_slice(&json).map_err(|error| bad(format!("it is no index: {error}")))
}

fn open_part(index: &Path, name: &str, part: &str) -> Result<File, CheckpointError> {
    match file(&part_path(index, name, part)?) {
        Err(CheckpointError::NotFound { .. }) => {
            let what = format!("its part {} is missing; download all parts", shown(part));
            Err(CheckpointError::Index {
                path: index.to_owned(),
                what,
            })
        }
        other => other,
    }
}

fn part_path(index: &Path, name: &str, part: &str) -> Result<PathBuf, CheckpointError> {
    beside(index, part).ok_or_else(|| {
        let what = format!(
            "it says that {} is in \"{}\", and a part must be a file in the same folder",
            shown(name),
            shown(part)
        );
        CheckpointError::Index {
            path: index.to_owned(),
            what,
        }
    })
}

/// The path of a part, or `None` where the name leads out of the index's folder.
fn beside(index: &Path, part: &str) -> Option<PathBuf> {
    let mut components = Path::new(part).components();
    let is_name = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    // On every system, so that an index means the same everywhere.
    let is_plain = !part.contains(['/', '\\', ':', '\0']);
    (is_name && is_plain).then(|| index.with_file_name(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_in_the_folder_of_the_index() {
        let index = Path::new("models/a/model.safetensors.index.json");
        let at = |part: &str| beside(index, part);
        assert_eq!(
            at("model-1.safetensors"),
            Some(PathBuf::from("models/a/model-1.safetensors"))
        );
        for outside in [
            "",
            ".",
            "..",
            "../b",
            "/etc/passwd",
            "sub/x",
            "..\\b",
            "C:x",
            "a/",
            "a\0b",
            "./a",
        ] {
            assert_eq!(at(outside), None, "{outside:?}");
        }
    }

    #[test]
    fn an_index_is_told_by_its_content() {
        assert!(is_index(b" {\"metadata\": {}, \"weight_map\": {}}"));
        assert!(!is_index(b"{\"weights\": {}}"));
        assert!(!is_index(b"PK\x03\x04 \"weight_map\""));
        assert!(!is_index(b""));
    }
}
