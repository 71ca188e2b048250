//! Negatives in files: a safetensors file of their own, or tensors of a bundle.
//!
//! - `negatives.rows` `[M, D]` in `f16`;
//! - `negatives.group_ends` `[G]`;
//! - words and origin as JSON under the metadata key `negatives`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clipn_base::progress::NoProgress;
use clipn_checkpoint::{Checkpoint, Dtype, Tensor, WeightsFormat, write_safetensors};
use clipn_model::{Real, TextTower};
use serde::{Deserialize, Serialize};

use crate::negatives::encode::encode_words;
use crate::negatives::{Negatives, NegativesError, NegativesOrigin};

/// Metadata key of the description, and prefix of the tensors.
const KEY: &str = "negatives";
const VERSION: u64 = 1;

/// Smallest cosine of the features of one text by two precisions of a text tower; by another tower it is near 0.
const SAME_TOWER: f64 = 0.9;

/// What is stored of negatives besides their tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NegativesMetadata {
    /// Words, in row order.
    pub words: Vec<String>,
    /// How the negatives were made.
    pub origin: NegativesOrigin,
}

/// Part of the description that is read first, to check the version.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// Description in a file of negatives, as JSON.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u64,
    clipn: String,
    #[serde(flatten)]
    metadata: NegativesMetadata,
}

fn rows_name(prefix: &str) -> String {
    format!("{prefix}.rows")
}

fn group_ends_name(prefix: &str) -> String {
    format!("{prefix}.group_ends")
}

impl<T: Real> Negatives<T> {
    /// Returns words and origin, which a file stores besides the tensors.
    pub fn metadata(&self) -> NegativesMetadata {
        NegativesMetadata {
            words: self.words().to_vec(),
            origin: self.origin().clone(),
        }
    }

    /// Returns the tensors `PREFIX.rows` in `f16` and `PREFIX.group_ends`.
    ///
    /// # Errors
    /// [`NegativesError::Checkpoint`], never for valid negatives.
    pub fn to_tensors(&self, prefix: &str) -> Result<Vec<(String, Tensor)>, NegativesError> {
        let ends: Vec<i64> = self.group_ends().iter().map(|&end| end as i64).collect();
        Ok(vec![
            (rows_name(prefix), self.half_rows().clone()),
            (
                group_ends_name(prefix),
                Tensor::from_i64(&[ends.len()], &ends)?,
            ),
        ])
    }

    /// Reads negatives from the tensors of [`to_tensors`](Self::to_tensors) in a file. Scores that use
    /// them have the same bits as before they were written.
    ///
    /// # Errors
    /// [`NegativesError::Corrupt`] if a tensor is missing or has an unexpected type or shape, and the
    /// errors of [`new`](Self::new).
    pub fn from_tensors(
        checkpoint: &Checkpoint,
        prefix: &str,
        metadata: NegativesMetadata,
    ) -> Result<Self, NegativesError> {
        let corrupt = |reason: String| NegativesError::Corrupt {
            path: checkpoint.path().to_owned(),
            reason,
        };
        let tensor = |name: String, dtype: Dtype, dimensions: usize| match checkpoint.get(&name) {
            Some(tensor) if tensor.dtype() == dtype && tensor.shape().len() == dimensions => {
                Ok(tensor.clone())
            }
            Some(tensor) => Err(corrupt(format!(
                "expected {dtype} and {dimensions} dimensions for {name}, got {} {:?}",
                tensor.dtype(),
                tensor.shape()
            ))),
            None => Err(corrupt(format!("{name} is missing"))),
        };
        let rows = tensor(rows_name(prefix), Dtype::F16, 2)?;
        let ends = tensor(group_ends_name(prefix), Dtype::I64, 1)?;
        let NegativesMetadata { words, origin } = metadata;
        if rows.shape()[0] != words.len() || rows.is_empty() {
            return Err(corrupt(format!(
                "expected rows for {} words, got {:?}",
                words.len(),
                rows.shape()
            )));
        }
        let ends: Vec<usize> = ends
            .to_i64()
            .into_iter()
            .map(|end| usize::try_from(end).map_err(|_| corrupt(format!("group ends at {end}"))))
            .collect::<Result<_, _>>()?;
        Self::from_half_rows(words, rows, ends, origin)
    }

    /// Writes a file of negatives atomically.
    ///
    /// # Errors
    /// [`NegativesError::Checkpoint`] for I/O errors, [`NegativesError::Serialize`]. After an error,
    /// `path` is unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), NegativesError> {
        let description = Description {
            version: VERSION,
            clipn: env!("CARGO_PKG_VERSION").to_owned(),
            metadata: self.metadata(),
        };
        let json =
            serde_json::to_string(&description).map_err(|error| NegativesError::Serialize {
                source: error.into(),
            })?;
        let metadata = BTreeMap::from([(KEY.to_owned(), json)]);
        Ok(write_safetensors(path, self.to_tensors(KEY)?, &metadata)?)
    }

    /// Reads a file of negatives.
    ///
    /// # Errors
    /// [`NegativesError::NotNegatives`] for other files, [`NegativesError::UnsupportedVersion`],
    /// [`NegativesError::Corrupt`], and other variants for I/O errors and invalid content.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NegativesError> {
        Self::read(&Checkpoint::open(path)?)
    }

    /// Reads a file of negatives for the classes `class_names` of a model with this "yes" tower, whose hash is
    /// [`yes_tower_hash`](clipn_model::ModelWeights::yes_tower_hash). Words that describe the classes are left out,
    /// [as for other classes](Self::for_classes), with a note, and the others are grouped for the number of classes;
    /// the published lists stay as they are.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`NegativesError::OtherTower`] if another text tower encoded the words, other
    /// precisions of the same one apart, and [`NegativesError::NoWords`] if all describe the classes.
    pub fn open_for(
        path: impl AsRef<Path>,
        tower_hash: &str,
        tower: &dyn TextTower<T>,
        class_names: &[String],
    ) -> Result<(Self, Option<String>), NegativesError> {
        let path = path.as_ref();
        let all = Self::open(path)?;
        if !all.is_encoded_by(tower_hash, tower)? {
            let path = path.to_owned();
            return Err(NegativesError::OtherTower { path });
        }
        let kept = all.kept(class_names);
        let first = (0..all.len()).find(|&index| kept.get(index) != Some(&index));
        let note = first.map(|first| {
            format!(
                "left out words that describe the classes: {} of {} in {}, such as `{}`",
                all.len() - kept.len(),
                all.len(),
                path.display(),
                all.words()[first],
            )
        });
        Ok((all.regrouped(&kept, class_names.len())?, note))
    }

    /// Whether a text tower encoded the words: by its hash, else by the features of the first word.
    fn is_encoded_by(
        &self,
        tower_hash: &str,
        tower: &dyn TextTower<T>,
    ) -> Result<bool, NegativesError> {
        let origin = self.origin();
        // Another dimension is an error of its own.
        if origin.text_tower.as_deref() == Some(tower_hash) || self.dim() != tower.embed_dim() {
            return Ok(true);
        }
        let mut is_unknown = true;
        for templates in [&origin.noun_templates, &origin.adjective_templates] {
            if templates.is_empty() {
                continue;
            }
            let word = &self.words()[..1];
            let row = encode_words(word, templates, origin.join, tower, &NoProgress)?;
            let products = row.iter().zip(self.rows()).map(|(&a, &b)| a * b);
            let cosine = products.fold(T::zero(), |sum, product| sum + product);
            if cosine >= T::from_f64(SAME_TOWER) {
                return Ok(true);
            }
            is_unknown = false;
        }
        Ok(is_unknown)
    }

    /// Reads a file of negatives from memory. `path` is only used in errors.
    ///
    /// # Errors
    /// Same as [`open`](Self::open), except for I/O errors.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, NegativesError> {
        Self::read(&Checkpoint::from_bytes(path.as_ref(), bytes)?)
    }

    fn read(checkpoint: &Checkpoint) -> Result<Self, NegativesError> {
        let path: PathBuf = checkpoint.path().to_owned();
        let json = match checkpoint.metadata().get(KEY) {
            Some(json) if checkpoint.format() == WeightsFormat::Safetensors => json,
            _ => return Err(NegativesError::NotNegatives { path }),
        };
        let invalid = |error: serde_json::Error| NegativesError::Corrupt {
            path: path.clone(),
            reason: format!("invalid description: {error}"),
        };
        let Versioned { version } = serde_json::from_str(json).map_err(invalid)?;
        if version != VERSION {
            return Err(NegativesError::UnsupportedVersion {
                path,
                found: version,
                supported: VERSION,
            });
        }
        let description: Description = serde_json::from_str(json).map_err(invalid)?;
        Self::from_tensors(checkpoint, KEY, description.metadata)
    }
}
