//! WebDataset shards: tar archives, plain or packed with gzip or zstd, in which consecutive files that share a key make
//! a sample. Read as streams; what a header says is checked before it is believed.
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
pub(super) use reader::{SegmentReader, guarded};
pub(super) use spec::ENDINGS as SHARD_ENDINGS;
