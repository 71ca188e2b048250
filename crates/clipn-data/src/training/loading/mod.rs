//! Batches of pixels and captions for training, from shards or caption tables.
//!
//! The order depends only on the seed and the epoch, each process reads its own part, and an epoch
//! can be resumed at any batch with the same result. Broken samples are skipped and counted.

mod draw;
mod epoch;
mod loader;
mod peers;
mod pipeline;
mod plan;
mod prepare;
mod settings;
mod shuffle;
mod source;

pub use epoch::{Epoch, EpochPosition, TrainBatch};
pub use loader::CaptionLoader;
pub use peers::BatchPeers;
pub use prepare::{CachedImage, CachedImages, FeatureKeys};
pub use settings::{LoaderSettings, Rounding, Sampling, ShuffleBuffer, SkipLimit};
pub use source::CaptionSource;
