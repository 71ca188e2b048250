//! Training data: images with captions, in WebDataset shards or tables, and batches of them in a
//! resumable order.

mod captions;
mod error;
mod loading;
#[cfg(feature = "parquet")]
mod parquet;
mod random;
mod sample;
mod skipped;
mod webdataset;

pub use captions::{CaptionTable, CaptionTableFormat, MultilineFields, TableQuoting};
pub use error::TrainingDataError;
pub use loading::{
    BatchPeers, CachedImage, CachedImages, CaptionLoader, CaptionSource, Epoch, EpochPosition,
    FeatureKeys, LoaderSettings, Rounding, Sampling, ShuffleBuffer, SkipLimit, TrainBatch,
};
#[cfg(feature = "parquet")]
pub use parquet::ParquetCaptions;
pub use skipped::{SkipReason, SkippedSample, SkippedSamples};
pub use webdataset::{
    CaptionField, DamageReport, SampleFields, Shard, ShardDamage, ShardSet, expand_braces,
    expand_shards,
};

pub(crate) use webdataset::{SampleFiles, SampleReader, first_keys};
