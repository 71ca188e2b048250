//! Batches of pixels and captions for training, from shards or caption tables.
//!
//! The order depends only on the seed and the epoch, each process reads its own part, and an epoch
//! can be resumed at any batch with the same result. Broken samples are skipped and counted.
mod epoch;
mod error;
mod items;
mod loader;
mod pipeline;
mod plan;
mod prepare;
mod settings;
mod shuffle;
mod skipped;

pub use epoch::{Epoch, Position, TrainBatch};
pub use error::TrainingDataError;
pub use loader::{CaptionLoader, CaptionSource};
pub use prepare::CachedImages;
pub use settings::{LoaderSettings, MaxBad, Rounding, Sampling, ShuffleBuffer};
pub use skipped::{SkipReason, Skipped, SkippedSample};

pub(super) use items::{Drawn, RawImage, RawSample, SampleId};
pub(super) use plan::Segment;
