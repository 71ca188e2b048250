//! Safetensors files of PyTorch's `HuggingFaceStorageWriter`: one of each rank, with the chunks of its
//! tensors, whose offsets are JSON in the file's metadata. The shape of a whole tensor is nowhere: it
//! ends where the last chunk ends.

use std::collections::HashMap;
use std::path::Path;

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;

use super::index::{Chunk, Index, Location, TensorEntry, charge};
use super::{MAX_ENTRIES, file_names};
use crate::budget::Budget;
use crate::buffer::FileBytes;
use crate::{CheckpointError, Tensor, safetensors};

/// Metadata key of the offsets.
const SHARDING: &str = "DCP_SHARDING_INFO";

/// Upper estimate of the memory in bytes that one byte of that JSON causes.
const JSON_EXPANSION: usize = 16;

/// Position of a chunk, by the name of its tensor.
#[derive(Deserialize)]
struct Saved {
    saved_offsets: Box<[usize]>,
}

/// Whether the name is that of one rank's file: `shard-00001-model-00001-of-00001.safetensors`.
pub(crate) fn is_shard_name(name: &str) -> bool {
    let is_number =
        |digits: &str| digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name
        .strip_prefix("shard-")
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .and_then(|rest| rest.split_once("-model-"));
    parts.is_some_and(|(rank, file)| {
        let file = file.split_once("-of-");
        is_number(rank) && file.is_some_and(|(own, all)| is_number(own) && is_number(all))
    })
}

/// Returns the sorted names of the ranks' files in a directory.
pub(crate) fn shards_in(directory: &Path) -> Vec<String> {
    let mut names = file_names(&directory.join("any"));
    names.retain(|name| is_shard_name(name));
    names.truncate(MAX_ENTRIES);
    names
}

/// Whether the metadata of a safetensors file say that it has parts of tensors: a chunk of another
/// rank than the first begins at another offset than 0.
pub(crate) fn is_shard(metadata: &IndexMap<String, String>) -> bool {
    let saved = metadata
        .get(SHARDING)
        .and_then(|json| serde_json::from_str::<HashMap<String, Saved>>(json).ok());
    saved.is_some_and(|saved| {
        let mut offsets = saved.values().flat_map(|saved| &saved.saved_offsets);
        offsets.any(|&offset| offset > 0)
    })
}

/// Adds the chunks of one rank's file to the index, and returns them.
pub(super) fn read(
    path: &Path,
    bytes: &FileBytes,
    file: usize,
    index: &mut Index,
    budget: &mut Budget,
) -> Result<IndexMap<String, Tensor>, CheckpointError> {
    let corrupt = |reason: String| CheckpointError::Corrupt {
        path: path.to_owned(),
        location: format!("the metadata {SHARDING}"),
        reason,
    };
    let (tensors, metadata) = safetensors::read(path, bytes, budget)?;
    let json = metadata.get(SHARDING).map_or("{}", String::as_str);
    charge(path, json.len() * JSON_EXPANSION, budget)?;
    let saved: HashMap<String, Saved> =
        serde_json::from_str(json).map_err(|error| corrupt(error.to_string()))?;
    for (name, tensor) in &tensors {
        // Files without offsets have whole tensors.
        let offsets = match saved.get(name) {
            Some(saved) => saved.saved_offsets.clone(),
            None => vec![0; tensor.shape().len()].into_boxed_slice(),
        };
        let ends: Option<Box<[usize]>> = match offsets.len() == tensor.shape().len() {
            true => {
                let axes = offsets.iter().zip(tensor.shape());
                axes.map(|(&start, &len)| start.checked_add(len)).collect()
            }
            false => None,
        };
        let Some(ends) = ends else {
            return Err(corrupt(format!(
                "offsets {offsets:?} of {}, which has shape {:?}",
                crate::error::escape_for_display(name),
                tensor.shape()
            )));
        };
        let chunk = Chunk {
            offsets: offsets.clone(),
            sizes: tensor.shape().into(),
        };
        charge(path, chunk.memory(), budget)?;
        let entry = TensorEntry {
            dtype: tensor.dtype().torch_name(),
            shape: ends,
            chunks: IndexSet::from([chunk]),
        };
        index.add_growing_tensor(path, name, entry, budget)?;
        let location = Location {
            file,
            offset: 0,
            len: tensor.bytes().len(),
            transform: None,
        };
        index.add_location(path, name, Some(offsets), location, budget)?;
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_files_are_recognized_by_name() {
        assert!(is_shard_name(
            "shard-00001-model-00001-of-00001.safetensors"
        ));
        for other in [
            "model-00001-of-00002.safetensors",
            "shard-1-model-1-of-1.safetensors",
            "shard-00001-model-00001-of-00001.bin",
            "shard-00001.safetensors",
        ] {
            assert!(!is_shard_name(other), "{other}");
        }
    }
}
