//! The sequence of samples drawn from the data, before they are decoded.
use std::path::PathBuf;
use std::sync::Arc;

use super::loader::CaptionSource;
use super::plan::{RowPlan, Segment, ShardPlan};
use super::skipped::SkippedSample;
use crate::captions::CaptionTable;
use crate::webdataset::{SegmentReader, ShardSet};

/// Identity of a sample, which determines its augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleId {
    /// Index of the shard; 0 for a table.
    pub part: u64,
    /// Index of the sample in the shard, or of the row.
    pub index: u64,
    /// Number of earlier visits in this epoch.
    pub visit: u64,
}

/// An undecoded image.
#[derive(Debug)]
pub(crate) enum RawImage {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A sample with an undecoded image.
#[derive(Debug)]
pub(crate) struct RawSample {
    pub key: String,
    pub image: RawImage,
    pub caption: String,
    pub id: SampleId,
}

impl RawSample {
    /// Returns the approximate memory use in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let image = match &self.image {
            RawImage::Bytes(bytes) => bytes.len(),
            RawImage::File(path) => path.as_os_str().len(),
        };
        (image + self.caption.len() + self.key.len() + size_of::<Self>()) as u64
    }
}

/// Element of the sequence.
#[derive(Debug)]
pub(crate) enum Drawn {
    Sample(Box<RawSample>),
    Skip(Box<SkippedSample>),
    /// End of a pass over the part of this process.
    PassEnd,
}

/// Endless iterator over the data; each pass is followed by the next.
pub(super) enum Items {
    Shards {
        set: Arc<ShardSet>,
        plan: ShardPlan,
        reader: Option<Box<(usize, SegmentReader)>>,
    },
    Rows {
        table: Arc<CaptionTable>,
        plan: RowPlan,
    },
}

impl Items {
    pub(super) fn shards(set: &Arc<ShardSet>, plan: ShardPlan) -> Self {
        Self::Shards {
            set: Arc::clone(set),
            plan,
            reader: None,
        }
    }

    pub(super) fn rows(table: &Arc<CaptionTable>, plan: RowPlan) -> Self {
        Self::Rows {
            table: Arc::clone(table),
            plan,
        }
    }
}

impl Iterator for Items {
    type Item = Drawn;

    fn next(&mut self) -> Option<Drawn> {
        match self {
            Self::Shards { set, plan, reader } => loop {
                if let Some((shard, open)) = reader.as_deref_mut() {
                    if let Some(drawn) = open.next(&set.shards()[*shard], set.fields()) {
                        return Some(drawn);
                    }
                    *reader = None;
                }
                match plan.next() {
                    Some(segment) => open_segment(set, segment, reader),
                    None => return Some(Drawn::PassEnd),
                }
            },
            Self::Rows { table, plan } => Some(match plan.next() {
                Some((row, visit)) => row_of(table, row, visit),
                None => Drawn::PassEnd,
            }),
        }
    }
}

fn open_segment(
    set: &ShardSet,
    segment: Segment,
    reader: &mut Option<Box<(usize, SegmentReader)>>,
) {
    *reader = set
        .shards()
        .get(segment.shard)
        .map(|shard| Box::new((segment.shard, SegmentReader::new(shard, segment))));
}

fn row_of(table: &CaptionTable, row: u64, visit: u64) -> Drawn {
    match table.row(row as usize) {
        Ok((image, caption)) => Drawn::Sample(Box::new(RawSample {
            key: table.key(row as usize),
            image: RawImage::File(image),
            caption: caption.to_string(),
            id: SampleId {
                part: 0,
                index: row,
                visit,
            },
        })),
        Err(skipped) => Drawn::Skip(Box::new(skipped)),
    }
}

impl CaptionSource {
    /// Returns the sequence that a process draws in an epoch.
    pub(super) fn items(&self, settings: &super::LoaderSettings, epoch: u64) -> Items {
        match self {
            Self::Shards(set) => Items::shards(set, ShardPlan::new(set.shards(), settings, epoch)),
            Self::Table(table) => {
                Items::rows(table, RowPlan::new(table.len() as u64, settings, epoch))
            }
        }
    }
}
