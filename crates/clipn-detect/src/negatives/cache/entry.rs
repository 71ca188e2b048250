//! A file of the cache: the rows of one word list, in `f16`.

use std::collections::BTreeMap;
use std::path::Path;

use clipn_checkpoint::{Checkpoint, Dtype, Tensor, write_safetensors};
use clipn_model::Real;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::WordList;
use crate::negatives::NegativesError;
use crate::negatives::half_rows::from_half;

/// Metadata key of the description.
const KEY: &str = "word-features";
const ROWS: &str = "rows";
/// Version of the file format and of how texts become features.
const VERSION: u64 = 1;

/// Description of a cache file, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    version: u64,
    pub(super) key: String,
    pub(super) name: String,
    pub(super) words: usize,
    pub(super) templates: Vec<String>,
}

impl WordList<'_> {
    /// Digest of all that the rows depend on: text tower, templates, join and words.
    pub(super) fn key(&self, tower_hash: &str) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        add(&format!("{KEY} {VERSION} {}", self.join.as_str()));
        add(tower_hash);
        add(&self.templates.len().to_string());
        self.templates
            .iter()
            .for_each(|template| add(template.as_str()));
        self.words.iter().for_each(|word| add(word));
        // Half of the digest is unique enough, and a shorter file name.
        hash.finalize()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Writes the rows of a list, a matrix in `f16`.
pub(super) fn write(
    path: &Path,
    list: &WordList<'_>,
    key: &str,
    rows: &Tensor,
) -> Result<(), NegativesError> {
    let description = Description {
        version: VERSION,
        key: key.to_owned(),
        name: list.name.to_owned(),
        words: list.words.len(),
        templates: list.templates.iter().map(ToString::to_string).collect(),
    };
    let json = serde_json::to_string(&description).map_err(|error| NegativesError::Serialize {
        source: error.into(),
    })?;
    let metadata = BTreeMap::from([(KEY.to_owned(), json)]);
    Ok(write_safetensors(
        path,
        [(ROWS.to_owned(), rows.clone())],
        &metadata,
    )?)
}

/// Reads the description of a cache file; the error says what is wrong.
pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, String> {
    let json = checkpoint.metadata().get(KEY).ok_or("no description")?;
    serde_json::from_str(json).map_err(|error| format!("invalid description: {error}"))
}

/// Reads the rows of a list; the error says what is wrong with the file.
pub(super) fn read<T: Real>(
    checkpoint: &Checkpoint,
    key: &str,
    words: usize,
    dim: usize,
) -> Result<Vec<T>, String> {
    let description = describe(checkpoint)?;
    if description.version != VERSION || description.key != key {
        return Err("it belongs to another word list or version".to_owned());
    }
    let rows = match checkpoint.get(ROWS) {
        Some(rows) if rows.dtype() == Dtype::F16 && rows.shape() == [words, dim] => rows,
        Some(rows) => {
            return Err(format!(
                "expected f16 [{words}, {dim}], got {} {:?}",
                rows.dtype(),
                rows.shape()
            ));
        }
        None => return Err("no rows".to_owned()),
    };
    let read = from_half(rows, dim).map_err(|row| format!("the length of row {row} is not 1"));
    rows.release();
    read
}
