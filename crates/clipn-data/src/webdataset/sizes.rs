//! How many samples shards hold: from `sizes.json` or `__len__` beside them.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::spec::in_folder;
use crate::loading::TrainingDataError;
use crate::read_limited;

/// The largest file of sizes read, in bytes: over a million shards.
const LIMIT: u64 = 64 << 20;

/// The most samples of a shard that are believed.
const MOST: u64 = 1 << 40;

/// Samples of each shard, where a `sizes.json` in its folder says so (open_clip's: an object of file names and counts).
pub(super) fn from_json(shards: &[PathBuf]) -> Result<Vec<Option<u64>>, TrainingDataError> {
    let mut folders: HashMap<PathBuf, Option<Value>> = HashMap::new();
    let mut sizes = Vec::with_capacity(shards.len());
    for shard in shards {
        let path = beside(shard, "sizes.json");
        let known = match folders.get(&path) {
            Some(known) => known,
            None => {
                let read = if path.is_file() {
                    Some(object(&path)?)
                } else {
                    None
                };
                folders.entry(path.clone()).or_insert(read)
            }
        };
        let name = shard.file_name().unwrap_or_default().to_string_lossy();
        let count = known.as_ref().and_then(|object| object.get(name.as_ref()));
        sizes.push(match count {
            Some(value) => Some(number(value).ok_or_else(|| TrainingDataError::Sizes {
                path,
                problem: format!("`{name}` has the size {value}: write a whole number of samples"),
            })?),
            None => None,
        });
    }
    Ok(sizes)
}

/// Samples of all shards together, where they are all the shards of one folder and `__len__` in it says so.
pub(super) fn from_len(shards: &[PathBuf]) -> Result<Option<u64>, TrainingDataError> {
    let Some(first) = shards.first() else {
        return Ok(None);
    };
    let path = beside(first, "__len__");
    let folder = path.parent().unwrap_or(Path::new("."));
    if !path.is_file() || shards.iter().any(|shard| beside(shard, "__len__") != path) {
        return Ok(None);
    }
    if in_folder(folder)?.len() != shards.len() {
        return Ok(None);
    }
    let bytes = read_limited(&path, 64)?;
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse() {
        Ok(count) if count <= MOST => Ok(Some(count)),
        _ => {
            let problem = format!(
                "`{}` is no number of samples: write a whole number",
                text.trim()
            );
            Err(TrainingDataError::Sizes { path, problem })
        }
    }
}

fn beside(shard: &Path, name: &str) -> PathBuf {
    match shard.parent() {
        Some(folder) if folder != Path::new("") => folder.join(name),
        _ => Path::new(".").join(name),
    }
}

fn object(path: &Path) -> Result<Value, TrainingDataError> {
    let refuse = |problem: String| TrainingDataError::Sizes {
        path: path.to_path_buf(),
        problem,
    };
    let bytes = read_limited(path, LIMIT)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        refuse(format!(
            "it is not JSON ({error}): correct it, or remove it"
        ))
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(refuse(
        "it is no JSON object of file names and counts: correct it, or remove it".to_string(),
    ))
}

/// A count, which some writers put in quotes.
fn number(value: &Value) -> Option<u64> {
    let count = value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    (count <= MOST).then_some(count)
}
