//! Number of samples in shards, from `sizes.json` or `__len__` beside them.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::text_file::read_limited;
use crate::training::error::TrainingDataError;
use crate::training::webdataset::spec::shards_in_directory;

/// Maximum size of a `sizes.json` in bytes, enough for over a million shards.
const MAX_BYTES: u64 = 64 << 20;

/// Maximum plausible number of samples.
const MAX_SAMPLES: u64 = 1 << 40;

/// Returns the number of samples of each shard, if a `sizes.json` in its directory has it
/// (open_clip's format: an object of file names and counts).
pub(super) fn sizes_from_json(shards: &[PathBuf]) -> Result<Vec<Option<u64>>, TrainingDataError> {
    let mut directories: HashMap<PathBuf, Option<Value>> = HashMap::new();
    let mut sizes = Vec::with_capacity(shards.len());
    for shard in shards {
        let path = sibling(shard, "sizes.json");
        let known = match directories.get(&path) {
            Some(known) => known,
            None => {
                let read = if path.is_file() {
                    Some(read_object(&path)?)
                } else {
                    None
                };
                directories.entry(path.clone()).or_insert(read)
            }
        };
        let name = shard.file_name().unwrap_or_default().to_string_lossy();
        let count = known.as_ref().and_then(|object| object.get(name.as_ref()));
        sizes.push(match count {
            Some(value) => Some(number(value).ok_or_else(|| TrainingDataError::ShardSizes {
                path,
                problem: format!("expected a number of samples for `{name}`, got {value}"),
            })?),
            None => None,
        });
    }
    Ok(sizes)
}

/// Returns the total number of samples from `__len__`, if the shards are all those of one directory
/// that has this file.
pub(super) fn total_from_len(shards: &[PathBuf]) -> Result<Option<u64>, TrainingDataError> {
    let Some(first) = shards.first() else {
        return Ok(None);
    };
    let path = sibling(first, "__len__");
    let directory = path.parent().unwrap_or(Path::new("."));
    if !path.is_file() || shards.iter().any(|shard| sibling(shard, "__len__") != path) {
        return Ok(None);
    }
    if shards_in_directory(directory)?.len() != shards.len() {
        return Ok(None);
    }
    let bytes = read_limited(&path, 64)?;
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse() {
        Ok(count) if count <= MAX_SAMPLES => Ok(Some(count)),
        _ => {
            let problem = format!("expected a number of samples, got `{}`", text.trim());
            Err(TrainingDataError::ShardSizes { path, problem })
        }
    }
}

fn sibling(shard: &Path, name: &str) -> PathBuf {
    match shard.parent() {
        Some(directory) if directory != Path::new("") => directory.join(name),
        _ => Path::new(".").join(name),
    }
}

fn read_object(path: &Path) -> Result<Value, TrainingDataError> {
    let invalid = |problem: String| TrainingDataError::ShardSizes {
        path: path.to_path_buf(),
        problem,
    };
    let bytes = read_limited(path, MAX_BYTES)?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(format!("not valid JSON: {error}")))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(invalid(
        "expected a JSON object of file names and counts".to_string(),
    ))
}

/// Parses a count, which some writers put in quotes.
fn number(value: &Value) -> Option<u64> {
    let count = value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    (count <= MAX_SAMPLES).then_some(count)
}
