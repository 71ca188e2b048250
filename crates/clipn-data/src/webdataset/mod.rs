//! WebDataset shards: tar archives, plain or compressed with gzip or zstd, in which consecutive
//! files with the same key form a sample. Shards are read as streams, and sizes in headers are not
//! trusted.
mod archive;
mod compression;
mod fields;
mod group;
mod reader;
mod shards;
mod sizes;
mod spec;

pub use fields::{CaptionField, SampleFields};
pub use shards::{Shard, ShardSet};
pub use spec::{expand_braces, expand_shards};

pub(super) use archive::Archive;
pub(super) use compression::{open as open_shard, unpack as unpack_shard};
pub(super) use reader::{SegmentReader, catch_panic};
pub(super) use spec::ENDINGS as SHARD_ENDINGS;
