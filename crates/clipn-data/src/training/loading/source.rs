use std::sync::Arc;

use crate::training::captions::{CaptionTable, CaptionTableFormat};
use crate::training::error::TrainingDataError;
use crate::training::loading::draw::ItemIterator;
use crate::training::loading::plan::{RowPlan, ShardPlan};
use crate::training::loading::settings::LoaderSettings;
#[cfg(feature = "parquet")]
use crate::training::parquet::ParquetCaptions;
use crate::training::random::StableHash;
use crate::training::webdataset::{DamageReport, ShardSet};

/// Source of images with captions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CaptionSource {
    /// WebDataset shards.
    Shards(Arc<ShardSet>),
    /// A caption table: CSV, TSV, JSON Lines, or Parquet with paths of images.
    Table(Arc<CaptionTable>),
    /// Parquet files with the images themselves.
    #[cfg(feature = "parquet")]
    Parquet(Arc<ParquetCaptions>),
}

impl CaptionSource {
    /// Opens Parquet files: one whose column of images has paths, or any number with the images
    /// themselves. `spec` is a path, a list, a pattern with braces or wildcards, or a directory.
    ///
    /// # Errors
    /// [`TrainingDataError::WithoutParquet`] without the feature `parquet`,
    /// [`TrainingDataError::Table`] if a file is damaged or lacks a column,
    /// [`TrainingDataError::ShardSpec`] if there is no file.
    #[cfg(not(feature = "parquet"))]
    pub fn open_parquet(spec: &str, _: &CaptionTableFormat) -> Result<Self, TrainingDataError> {
        Err(TrainingDataError::WithoutParquet {
            spec: spec.to_string(),
        })
    }

    /// Opens Parquet files: one whose column of images has paths, or any number with the images
    /// themselves. `spec` is a path, a list, a pattern with braces or wildcards, or a directory.
    ///
    /// Columns that Hugging Face's features call images, and usual names, replace defaults that are
    /// missing. A column of class indices needs names: in `format`, or in Hugging Face's features.
    ///
    /// # Errors
    /// [`TrainingDataError::Table`] if a file is damaged or lacks a column,
    /// [`TrainingDataError::ShardSpec`] if there is no file.
    #[cfg(feature = "parquet")]
    pub fn open_parquet(
        spec: &str,
        format: &CaptionTableFormat,
    ) -> Result<Self, TrainingDataError> {
        crate::training::parquet::open(spec, format)
    }

    /// Returns the number of samples, if known.
    pub fn samples(&self) -> Option<u64> {
        match self {
            Self::Shards(set) => set.samples(),
            Self::Table(table) => Some(table.len() as u64),
            #[cfg(feature = "parquet")]
            Self::Parquet(files) => Some(files.samples()),
        }
    }

    /// Returns what is damaged and lost, as far as it is known before the first sample is read; see
    /// [`ShardSet::damage`].
    pub fn damage(&self, train_num_samples: Option<u64>) -> Option<DamageReport> {
        match self {
            Self::Shards(set) => set.damage(train_num_samples),
            Self::Table(_) => None,
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => None,
        }
    }

    /// Returns a hash of what is known of the data before the first sample is read: the names and sizes of files, and
    /// the rows of a table. Processes that share batches compare it; the directories of files may differ.
    pub fn checksum(&self) -> u64 {
        let mut hash = StableHash::new();
        match self {
            Self::Shards(set) => {
                for shard in set.shards() {
                    hash.file(&shard.path);
                    hash.word(shard.samples.map_or(0, |samples| samples.saturating_add(1)));
                }
            }
            Self::Table(table) => table.add_to(&mut hash),
            #[cfg(feature = "parquet")]
            Self::Parquet(files) => {
                for path in files.paths() {
                    hash.file(path);
                }
                for rows in files.sizes().into_iter().flatten() {
                    hash.word(rows);
                }
            }
        }
        hash.finish()
    }

    /// Returns the sequence that a process draws in an epoch.
    pub(super) fn items(&self, settings: &LoaderSettings, epoch: u64) -> ItemIterator {
        match self {
            Self::Shards(set) => {
                let sizes: Vec<_> = set.shards().iter().map(|shard| shard.samples).collect();
                let plan = ShardPlan::new(&sizes, settings, epoch);
                ItemIterator::shards(set, plan, set.mean_samples(settings.train_num_samples))
            }
            Self::Table(table) => {
                ItemIterator::rows(table, RowPlan::new(table.len() as u64, settings, epoch))
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(files) => {
                let plan = ShardPlan::new(&files.sizes(), settings, epoch);
                ItemIterator::parquet(files, plan)
            }
        }
    }
}

impl From<ShardSet> for CaptionSource {
    fn from(set: ShardSet) -> Self {
        Self::Shards(Arc::new(set))
    }
}

impl From<CaptionTable> for CaptionSource {
    fn from(table: CaptionTable) -> Self {
        Self::Table(Arc::new(table))
    }
}
