use std::path::PathBuf;

use super::Skipped;
use crate::DatasetError;
use clipn_image::ImageError;

/// Why training data cannot be opened or cannot go on. Single broken samples are no errors: they are skipped and
/// counted in [`Skipped`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingDataError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] DatasetError),
    /// A list of shards that cannot be understood.
    #[error("shards `{spec}`: {problem}")]
    Spec {
        /// What was given.
        spec: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file with the numbers of samples that cannot be used.
    #[error("{}: {problem}", .path.display())]
    Sizes {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A caption table that cannot be used.
    #[error("{}: {problem}", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Nobody knows how many samples there are.
    #[error(
        "the number of samples of {shards} shards is not known (first: {}): give train_num_samples, put sizes.json or \
         __len__ beside the shards, or count them", .first.display()
    )]
    UnknownSize {
        /// Shards without a size.
        shards: usize,
        /// The first of them.
        first: PathBuf,
    },
    /// Shards of unknown size cannot be cut, and there are fewer of them than processes.
    #[error(
        "{shards} shards of unknown size cannot be split over {world_size} processes: put sizes.json beside them, count \
         them, or make more shards"
    )]
    TooFewShards {
        /// Number of shards.
        shards: usize,
        /// Number of processes.
        world_size: usize,
    },
    /// Not one batch for every process.
    #[error(
        "{samples} samples make no batch of {batch_size} for each of {world_size} processes: take a smaller batch, or \
         more data"
    )]
    TooFewSamples {
        /// Number of samples.
        samples: u64,
        /// Samples a batch.
        batch_size: usize,
        /// Number of processes.
        world_size: usize,
    },
    /// A setting that cannot be used.
    #[error("{setting}: {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// More broken samples than allowed.
    #[error("{} of the training data are skipped, and at most {limit} may be: {skipped}", .skipped.total())]
    TooManyBad {
        /// The most allowed in an epoch on one process.
        limit: u64,
        /// What was skipped.
        skipped: Box<Skipped>,
    },
    /// The whole data were read twice without one sample that can be used.
    #[error("no sample of the training data can be used: {skipped}")]
    NothingUsable {
        /// What was skipped.
        skipped: Box<Skipped>,
    },
    /// A position that belongs to other data or other settings.
    #[error(
        "the position to resume at (epoch {epoch}, batch {batch}) was taken with other data, order, seed, batch size or \
         processes: resume with the same ones, or start an epoch anew"
    )]
    Position {
        /// Its epoch.
        epoch: u64,
        /// Its batch.
        batch: u64,
    },
    /// Pixels cannot be made with these settings.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The system gives no thread.
    #[error("a loading thread cannot be started: {source}; set fewer workers")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// A loading thread ended before its work.
    #[error("a loading thread stopped unexpectedly; please report this with the data that it read")]
    Stopped,
    /// Asked to stop.
    #[error("counting the shards was cancelled")]
    Cancelled,
}
