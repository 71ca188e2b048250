//! Sets of shards and their sizes.
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::fields::SampleFields;
use super::reader::count;
use super::sizes::{from_json, from_len};
use super::spec::{expand_shards, names};
use crate::loading::TrainingDataError;
use crate::{DatasetError, first_few};
use clipn_base::progress::Progress;

/// An archive of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Path of the file.
    pub path: PathBuf,
    /// Number of samples, if known.
    pub samples: Option<u64>,
}

impl Shard {
    /// Returns the file name, for messages and keys.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// Shards in a fixed order, and the selection of files in their samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSet {
    shards: Vec<Shard>,
    total: Option<u64>,
    fields: SampleFields,
}

impl ShardSet {
    /// Finds the shards of `spec` ([`expand_shards`]) and their sizes: from `sizes.json` in their
    /// directories, or the total from `__len__`. No shard is opened.
    ///
    /// # Errors
    /// The errors of [`expand_shards`], [`TrainingDataError::Sizes`] if a file of sizes is invalid,
    /// [`TrainingDataError::File`] if a shard is not a regular file, [`TrainingDataError::Setting`]
    /// if `fields` has no image or no caption.
    pub fn open(spec: &str, fields: SampleFields) -> Result<Self, TrainingDataError> {
        let paths = expand_shards(spec)?;
        if let Some(path) = paths.iter().find(|path| !path.is_file()) {
            let source = std::io::Error::other("not a regular file");
            return Err(DatasetError::Io {
                path: path.clone(),
                source,
            }
            .into());
        }
        if fields.images.is_empty() || fields.captions.is_empty() {
            let setting = if fields.images.is_empty() {
                "images"
            } else {
                "captions"
            };
            let problem = format!("no extensions for the samples of {}", names(&paths));
            return Err(TrainingDataError::Setting { setting, problem });
        }
        let sizes = from_json(&paths)?;
        let total = if sizes.iter().all(Option::is_none) {
            from_len(&paths)?
        } else {
            None
        };
        let shards = paths
            .into_iter()
            .zip(sizes)
            .map(|(path, samples)| Shard { path, samples })
            .collect();
        Ok(Self {
            shards,
            total,
            fields,
        })
    }

    /// Returns the shards, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Returns the selection of files in the samples.
    pub fn fields(&self) -> &SampleFields {
        &self.fields
    }

    /// Returns the total number of samples, if known.
    pub fn samples(&self) -> Option<u64> {
        let sum = self
            .shards
            .iter()
            .try_fold(0u64, |sum, shard| sum.checked_add(shard.samples?));
        sum.or(self.total)
    }

    /// Reads every shard of unknown size and counts its samples, in a damaged one as far as it can
    /// be read.
    ///
    /// # Errors
    /// [`TrainingDataError::Cancelled`] if `progress` is canceled.
    pub fn count(&mut self, progress: &dyn Progress) -> Result<u64, TrainingDataError> {
        let unknown: Vec<&mut Shard> = self
            .shards
            .iter_mut()
            .filter(|s| s.samples.is_none())
            .collect();
        progress.begin("counting samples", unknown.len() as u64);
        let cancelled = AtomicBool::new(false);
        unknown.into_par_iter().for_each(|shard| {
            if progress.is_cancelled() {
                cancelled.store(true, Ordering::Relaxed);
                return;
            }
            shard.samples = Some(count(shard));
            progress.advance(1);
        });
        progress.end();
        if cancelled.into_inner() {
            return Err(TrainingDataError::Cancelled);
        }
        Ok(self.samples().unwrap_or(0))
    }

    /// Returns the error that names the shards of unknown size.
    pub(crate) fn unknown_size_error(&self) -> TrainingDataError {
        let mut unknown = self.shards.iter().filter(|shard| shard.samples.is_none());
        let first = unknown
            .next()
            .map(|shard| shard.path.clone())
            .unwrap_or_default();
        TrainingDataError::UnknownSize {
            shards: 1 + unknown.count(),
            first,
        }
    }
}

impl std::fmt::Display for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = first_few(self.shards.iter().map(Shard::name)).join(", ");
        write!(
            f,
            "{} shards ({first}{})",
            self.shards.len(),
            if self.shards.len() > 3 { ", …" } else { "" }
        )
    }
}
