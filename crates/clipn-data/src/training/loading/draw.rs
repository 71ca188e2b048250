//! The sequence of samples drawn from the data, before they are decoded.
use std::sync::Arc;

use crate::training::captions::CaptionTable;
use crate::training::loading::plan::{RowPlan, ShardPlan};
#[cfg(feature = "parquet")]
use crate::training::parquet::{ParquetCaptions, ParquetReader};
use crate::training::sample::{DrawnItem, RawImage, RawSample, SampleId, Segment};
use crate::training::webdataset::{SegmentReader, ShardSet};

/// Endless iterator over the data; each pass is followed by the next.
pub(super) enum ItemIterator {
    Shards {
        set: Arc<ShardSet>,
        plan: ShardPlan,
        /// Mean number of samples in a shard.
        mean: Option<u64>,
        reader: Option<Box<(usize, SegmentReader)>>,
    },
    Rows {
        table: Arc<CaptionTable>,
        plan: RowPlan,
    },
    #[cfg(feature = "parquet")]
    Parquet {
        files: Arc<ParquetCaptions>,
        plan: ShardPlan,
        reader: Option<Box<ParquetReader>>,
    },
}

impl ItemIterator {
    pub(super) fn shards(set: &Arc<ShardSet>, plan: ShardPlan, mean: Option<u64>) -> Self {
        Self::Shards {
            set: Arc::clone(set),
            plan,
            mean,
            reader: None,
        }
    }

    #[cfg(feature = "parquet")]
    pub(super) fn parquet(files: &Arc<ParquetCaptions>, plan: ShardPlan) -> Self {
        Self::Parquet {
            files: Arc::clone(files),
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

impl Iterator for ItemIterator {
    type Item = DrawnItem;

    fn next(&mut self) -> Option<DrawnItem> {
        match self {
            Self::Shards {
                set,
                plan,
                mean,
                reader,
            } => loop {
                if let Some((shard, open)) = reader.as_deref_mut() {
                    if let Some(drawn) = open.next(&set.shards()[*shard], set.fields()) {
                        return Some(drawn);
                    }
                    *reader = None;
                }
                match plan.next() {
                    Some(segment) => *reader = open_segment(set, segment, *mean),
                    None => return Some(DrawnItem::PassEnd),
                }
            },
            Self::Rows { table, plan } => Some(match plan.next() {
                Some((row, visit)) => draw_row(table, row, visit, plan.is_repeated()),
                None => DrawnItem::PassEnd,
            }),
            #[cfg(feature = "parquet")]
            Self::Parquet {
                files,
                plan,
                reader,
            } => loop {
                if let Some(drawn) = reader.as_deref_mut().and_then(ParquetReader::next) {
                    return Some(drawn);
                }
                match plan.next() {
                    Some(segment) => *reader = ParquetReader::new(files, segment).map(Box::new),
                    None => {
                        *reader = None;
                        return Some(DrawnItem::PassEnd);
                    }
                }
            },
        }
    }
}

fn open_segment(
    set: &ShardSet,
    segment: Segment,
    mean: Option<u64>,
) -> Option<Box<(usize, SegmentReader)>> {
    let shard = set.shards().get(segment.shard)?;
    Some(Box::new((
        segment.shard,
        SegmentReader::new(shard, segment, mean),
    )))
}

fn draw_row(table: &CaptionTable, row: u64, visit: u64, is_repeated: bool) -> DrawnItem {
    match table.row(row as usize) {
        Ok((image, caption)) => DrawnItem::Sample(Box::new(RawSample {
            key: table.key(row as usize),
            image: RawImage::File(image),
            caption: caption.to_string(),
            id: SampleId {
                shard: 0,
                index: row,
                visit,
                is_repeated,
            },
        })),
        Err(skipped) => DrawnItem::Skip(Box::new(skipped.repeated(is_repeated))),
    }
}
