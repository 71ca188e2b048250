use std::sync::Arc;

use crate::training::captions::CaptionTable;
use crate::training::loading::draw::ItemIterator;
use crate::training::loading::plan::{RowPlan, ShardPlan};
use crate::training::loading::settings::LoaderSettings;
use crate::training::webdataset::ShardSet;

/// Source of images with captions.
#[derive(Debug, Clone)]
pub enum CaptionSource {
    /// WebDataset shards.
    Shards(Arc<ShardSet>),
    /// A caption table, CSV or TSV.
    Table(Arc<CaptionTable>),
}

impl CaptionSource {
    /// Returns the number of samples, if known.
    pub fn samples(&self) -> Option<u64> {
        match self {
            Self::Shards(set) => set.samples(),
            Self::Table(table) => Some(table.len() as u64),
        }
    }

    /// Returns the sequence that a process draws in an epoch.
    pub(super) fn items(&self, settings: &LoaderSettings, epoch: u64) -> ItemIterator {
        match self {
            Self::Shards(set) => {
                ItemIterator::shards(set, ShardPlan::new(set.shards(), settings, epoch))
            }
            Self::Table(table) => {
                ItemIterator::rows(table, RowPlan::new(table.len() as u64, settings, epoch))
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
