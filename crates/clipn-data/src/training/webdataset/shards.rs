//! Sets of shards and their sizes.
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use clipn_base::progress::{NoProgress, Progress};
use rayon::prelude::*;

use crate::archive::{catch_panic, open_archive};
use crate::error::{DatasetError, first_few};
use crate::training::error::TrainingDataError;
use crate::training::webdataset::fields::SampleFields;
use crate::training::webdataset::samples::SampleReader;
use crate::training::webdataset::sizes::{sizes_from_json, total_from_len};
use crate::training::webdataset::spec::{expand_shards, names};

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

    /// Counts the samples, as far as it can be read.
    fn count_samples(&self) -> u64 {
        let Ok(source) = open_archive(&self.path) else {
            return 0;
        };
        let mut groups = SampleReader::new(source);
        let mut count = 0;
        while let Some(Ok(_)) = catch_panic(|| groups.next(None)) {
            count += 1;
        }
        count
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
    /// The errors of [`expand_shards`], [`TrainingDataError::ShardSizes`] if a file of sizes is invalid,
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
        let sizes = sizes_from_json(&paths)?;
        let total = if sizes.iter().all(Option::is_none) {
            total_from_len(&paths)?
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
    /// be read. Returns the total.
    pub fn count_samples(&mut self) -> u64 {
        self.count_unknown(&NoProgress);
        self.samples().unwrap_or(0)
    }

    /// Same as [`count_samples`](Self::count_samples), with reports to `progress`.
    ///
    /// # Errors
    /// [`TrainingDataError::Cancelled`] if `progress` is canceled.
    pub fn count_samples_with_progress(
        &mut self,
        progress: &dyn Progress,
    ) -> Result<u64, TrainingDataError> {
        if self.count_unknown(progress) {
            Ok(self.samples().unwrap_or(0))
        } else {
            Err(TrainingDataError::Cancelled)
        }
    }

    /// Returns whether all shards were counted, `false` if `progress` was canceled.
    fn count_unknown(&mut self, progress: &dyn Progress) -> bool {
        let unknown: Vec<&mut Shard> = self
            .shards
            .iter_mut()
            .filter(|shard| shard.samples.is_none())
            .collect();
        progress.begin("counting samples", unknown.len() as u64);
        let is_complete = AtomicBool::new(true);
        unknown.into_par_iter().for_each(|shard| {
            if progress.is_cancelled() {
                is_complete.store(false, Ordering::Relaxed);
                return;
            }
            shard.samples = Some(shard.count_samples());
            progress.advance(1);
        });
        progress.end();
        is_complete.into_inner()
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
