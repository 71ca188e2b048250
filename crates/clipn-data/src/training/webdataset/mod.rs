//! WebDataset shards: tar archives, plain or compressed with gzip or zstd, in which consecutive
//! files with the same key form a sample.

mod damage;
mod fields;
mod merged_keys;
mod reader;
mod samples;
mod shards;
mod sizes;
mod spec;

pub use damage::{DamageReport, ShardDamage};
pub use fields::{CaptionField, SampleFields};
pub use shards::{Shard, ShardSet};
pub use spec::{expand_braces, expand_shards};

pub(crate) use fields::SampleFiles;
pub(crate) use merged_keys::first_keys;
pub(crate) use reader::SegmentReader;
pub(crate) use samples::SampleReader;
#[cfg(feature = "parquet")]
pub(crate) use spec::{FileSelection, expand_files};
