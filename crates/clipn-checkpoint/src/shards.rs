//! Sharded checkpoints: an index (`*.index.json`) that names the file of each tensor.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;

use crate::budget::Budget;
use crate::error::escape_for_display;
use crate::file::{ParsedFile, io_error, open_file};
use crate::{CheckpointError, Tensor, WeightsFormat};

/// Maximum size of an index in bytes. Those of models with tens of thousands of tensors have a few
/// megabytes.
const MAX_INDEX_SIZE: u64 = 16 << 20;

/// The relevant part of an index: tensor names to file names.
#[derive(Deserialize)]
struct Index {
    weight_map: IndexMap<String, String>,
}

/// Tensors of all shards.
pub(crate) struct ShardedWeights {
    pub(crate) format: WeightsFormat,
    pub(crate) tensors: IndexMap<String, Tensor>,
    /// Paths of the shards.
    pub(crate) paths: Vec<PathBuf>,
    /// Memory that processing the shards may still allocate, together.
    pub(crate) budget: Budget,
}

/// Reads the index at `path` and the shards that it names, which are in the same directory.
pub(crate) fn read(path: &Path) -> Result<ShardedWeights, CheckpointError> {
    let index = read_index(path)?;
    let mut files: IndexMap<&str, ParsedFile> = IndexMap::new();
    let mut tensors = IndexMap::new();
    for (name, shard) in &index.weight_map {
        if !files.contains_key(shard.as_str()) {
            files.insert(shard, open_shard(path, name, shard)?);
        }
        let tensor = files
            .get(shard.as_str())
            .and_then(|file| file.tensors.get(name));
        let Some(tensor) = tensor else {
            let reason = format!(
                "tensor {} is not in {}",
                escape_for_display(name),
                escape_for_display(shard)
            );
            return Err(CheckpointError::InvalidIndex {
                path: path.to_owned(),
                reason,
            });
        };
        tensors.insert(name.clone(), tensor.clone());
    }
    let Some(format) = files.first().map(|(_, file)| file.format) else {
        return Err(CheckpointError::InvalidIndex {
            path: path.to_owned(),
            reason: "it lists no tensors".to_owned(),
        });
    };
    let paths = files
        .keys()
        .map(|shard| path.with_file_name(shard))
        .collect();
    let budget = files.values().fold(Budget::for_file(0), |sum, file| {
        sum.merged_with(&file.budget)
    });
    Ok(ShardedWeights {
        format,
        tensors,
        paths,
        budget,
    })
}

/// Returns the distinct file names of the shards that the index of a sharded checkpoint lists. All
/// are in the directory of the index. The shards need not exist: this is how to learn what to
/// download.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let index = directory.path().join("model.safetensors.index.json");
/// let json = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
/// std::fs::write(&index, json).unwrap();
/// assert_eq!(clipn_checkpoint::shard_names(&index)?, ["1.safetensors", "2.safetensors"]);
/// # Ok::<(), clipn_checkpoint::CheckpointError>(())
/// ```
///
/// # Errors
/// [`CheckpointError::InvalidIndex`] if the file is not an index or a name leads out of its
/// directory; other variants for I/O errors.
pub fn shard_names(index: impl AsRef<Path>) -> Result<Vec<String>, CheckpointError> {
    let index = index.as_ref();
    let mut shards = IndexSet::new();
    for (name, shard) in read_index(index)?.weight_map {
        if !shards.contains(&shard) {
            shard_path(index, &name, &shard)?;
            shards.insert(shard);
        }
    }
    Ok(shards.into_iter().collect())
}

/// Whether the file looks like an index: JSON with a `weight_map`.
pub(crate) fn is_shard_index(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace());
    start.is_some_and(|start| bytes[start] == b'{')
        && bytes.len() as u64 <= MAX_INDEX_SIZE
        && bytes
            .windows(WEIGHT_MAP.len())
            .any(|window| window == WEIGHT_MAP)
}

const WEIGHT_MAP: &[u8] = b"\"weight_map\"";

fn read_index(path: &Path) -> Result<Index, CheckpointError> {
    let invalid = |reason: String| CheckpointError::InvalidIndex {
        path: path.to_owned(),
        reason,
    };
    let mut json = Vec::new();
    let opened = std::fs::File::open(path).map_err(|error| io_error(path, "open", error))?;
    let read = opened.take(MAX_INDEX_SIZE + 1).read_to_end(&mut json);
    read.map_err(|error| io_error(path, "read", error))?;
    if json.len() as u64 > MAX_INDEX_SIZE {
        return Err(invalid(format!("it exceeds {} MiB", MAX_INDEX_SIZE >> 20)));
    }
    serde_json::from_slice(&json).map_err(|error| invalid(format!("not valid index JSON: {error}")))
}

fn open_shard(index: &Path, name: &str, shard: &str) -> Result<ParsedFile, CheckpointError> {
    match open_file(&shard_path(index, name, shard)?) {
        Err(CheckpointError::NotFound { .. }) => Err(CheckpointError::MissingShard {
            path: index.to_owned(),
            shard: escape_for_display(shard),
        }),
        other => other,
    }
}

fn shard_path(index: &Path, name: &str, shard: &str) -> Result<PathBuf, CheckpointError> {
    sibling_path(index, shard).ok_or_else(|| {
        let reason = format!(
            "shard \"{1}\" of tensor {0} is not a plain file name in the same directory",
            escape_for_display(name),
            escape_for_display(shard)
        );
        CheckpointError::InvalidIndex {
            path: index.to_owned(),
            reason,
        }
    })
}

/// Returns the name of the index of a shard with a name such as `model-00001-of-00003.safetensors`;
/// `None` for other names, and for the only shard of a model.
pub(crate) fn index_of_shard(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    let (rest, all) = stem.rsplit_once("-of-")?;
    let (stem, own) = rest.rsplit_once('-')?;
    // Programs write five digits; other numbers may count epochs.
    let number = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (own, all) = (number(own)?, number(all)?);
    (all > 1 && own <= all && !stem.is_empty()).then(|| format!("{stem}.{extension}.index.json"))
}

/// Returns the path of a shard, or `None` if the name leads out of the directory of the index.
pub(crate) fn sibling_path(index: &Path, shard: &str) -> Option<PathBuf> {
    let mut components = Path::new(shard).components();
    let is_name = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    // Rejected on every platform, so that an index means the same everywhere.
    let is_plain = !shard.contains(['/', '\\', ':', '\0']);
    (is_name && is_plain).then(|| index.with_file_name(shard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_shards_outside_of_the_directory_of_the_index() {
        let index = Path::new("models/a/model.safetensors.index.json");
        let at = |shard: &str| sibling_path(index, shard);
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
    fn names_the_index_of_a_shard() {
        let index = index_of_shard("model-00001-of-00003.safetensors");
        assert_eq!(index.as_deref(), Some("model.safetensors.index.json"));
        let index = index_of_shard("pytorch_model-00002-of-00002.bin");
        assert_eq!(index.as_deref(), Some("pytorch_model.bin.index.json"));
        for whole in [
            "model.safetensors",
            "model-00001-of-00001.safetensors",
            "epoch-3-of-10.pt",
            "model-00004-of-00003.safetensors",
            "-00001-of-00002.bin",
        ] {
            assert_eq!(index_of_shard(whole), None, "{whole}");
        }
    }

    #[test]
    fn detects_an_index_from_content() {
        assert!(is_shard_index(b" {\"metadata\": {}, \"weight_map\": {}}"));
        assert!(!is_shard_index(b"{\"weights\": {}}"));
        assert!(!is_shard_index(b"PK\x03\x04 \"weight_map\""));
        assert!(!is_shard_index(b""));
    }
}
