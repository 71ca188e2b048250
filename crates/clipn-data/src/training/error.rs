use std::path::PathBuf;

use clipn_base::count::count;
use clipn_image::ImageError;

use crate::error::DatasetError;
use crate::training::skipped::SkippedSamples;
use crate::training::webdataset::DamageReport;

/// Error that prevents opening or reading training data. Single broken samples are not errors: they
/// are skipped and counted in [`SkippedSamples`].
///
/// [`hint`](Self::hint) returns advice, which the messages do not contain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingDataError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] DatasetError),
    /// A shard specification is invalid.
    #[error("shards `{spec}`: {problem}")]
    ShardSpec {
        /// The given specification.
        spec: String,
        /// Description of the problem.
        problem: String,
    },
    /// A file with the sizes of shards is invalid.
    #[error("{}: {problem}", .path.display())]
    ShardSizes {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A caption table is invalid.
    #[error("{}: {problem}", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A Parquet file cannot be read, since the crate was built without its feature `parquet`.
    #[error("{spec}: this build does not read Parquet")]
    WithoutParquet {
        /// The given files.
        spec: String,
    },
    /// The number of samples is unknown.
    #[error(
    "unknown number of samples in {} (first: {}): \
     neither sizes.json nor __len__ beside them",
    count(*.shards, "shard"), .first.display()
    )]
    UnknownSize {
        /// Number of shards without a size.
        shards: usize,
        /// The first of them.
        first: PathBuf,
    },
    /// There are fewer shards than processes, and shards of unknown size cannot be split.
    #[error(
        "expected at least {} of unknown size for {}, got {shards}",
        count(*.world_size, "shard"), count(*.world_size, "process")
    )]
    TooFewShards {
        /// Number of shards.
        shards: usize,
        /// Number of processes.
        world_size: usize,
    },
    /// There is not one batch for every process.
    #[error(
        "expected at least {} for a batch of {batch_size} in {}, got {samples}",
        count(.batch_size.saturating_mul(*.world_size), "sample"), count(*.world_size, "process")
    )]
    TooFewSamples {
        /// Number of samples.
        samples: u64,
        /// Samples per batch.
        batch_size: usize,
        /// Number of processes.
        world_size: usize,
    },
    /// A setting is invalid.
    #[error("{setting}: {problem}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Description of the problem.
        problem: String,
    },
    /// More samples are broken than allowed.
    #[error("skipped {}, more than the limit of {limit}: {skipped}", count(.skipped.total(), "sample"))]
    TooManySkipped {
        /// Maximum number of skipped samples per epoch and process.
        limit: u64,
        /// The skipped samples.
        skipped: Box<SkippedSamples>,
    },
    /// More samples are lost with damaged shards than may be broken.
    #[error("{report}{}", exceeded(*.limit, .report))]
    DamagedShards {
        /// Maximum number of broken samples in the set; `None` if no number is too many, but the
        /// rest fills no batch.
        limit: Option<u64>,
        /// The damaged shards, and what is lost with them.
        report: Box<DamageReport>,
    },
    /// The processes that share the batches could not agree on one.
    #[error("cannot agree with other processes on the samples of a batch")]
    Peers {
        /// Error of the exchange.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two passes over the data yielded no usable sample.
    #[error("no usable sample in the training data: {skipped}")]
    NoUsableSample {
        /// The skipped samples.
        skipped: Box<SkippedSamples>,
    },
    /// A position was taken with other data or settings.
    #[error(
        "cannot resume at epoch {epoch}, batch {batch}: the position was saved with different data, \
         order, seed, batch size or number of processes"
    )]
    PositionMismatch {
        /// Epoch of the position.
        epoch: u64,
        /// Batch of the position.
        batch: u64,
    },
    /// The image settings are invalid, or normalization failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The system cannot start a thread.
    #[error("cannot start a loading thread")]
    Thread {
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A loading thread ended early.
    #[error("a loading thread stopped unexpectedly")]
    ThreadStopped,
    /// Counting was canceled.
    #[error("counting the shards was canceled")]
    Cancelled,
}

impl TrainingDataError {
    /// Advice on how to resolve the error, as a clause without final stop; `None` if the message
    /// says it all.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(error) => error.hint(),
            Self::UnknownSize { .. } => {
                Some("give the number of samples, put sizes.json beside the shards, or count them")
            }
            Self::TooFewShards { .. } => {
                Some("put sizes.json beside the shards, count them, or make more shards")
            }
            Self::TooFewSamples { .. } => Some("use a smaller batch size, or more data"),
            Self::PositionMismatch { .. } => {
                Some("resume with the same data and settings, or from the end of an epoch")
            }
            Self::Thread { .. } => Some("use fewer workers"),
            Self::ThreadStopped => Some("report this with the data that was read"),
            Self::ShardSizes { .. } => Some("correct or remove the file"),
            Self::WithoutParquet { .. } => Some("build with the feature `parquet`"),
            Self::DamagedShards { .. } => Some(
                "download or pack the shards again, leave them out, or allow more broken samples",
            ),
            Self::TooManySkipped { .. } => {
                Some("repair or remove the samples, or allow more broken ones")
            }
            _ => None,
        }
    }
}

/// The limit that a loss exceeds, if it is known how much is lost.
fn exceeded(limit: Option<u64>, report: &DamageReport) -> String {
    match (report.lost, limit) {
        (None, _) => String::new(),
        (Some(_), Some(limit)) => format!(", which exceeds the limit of {limit}"),
        (Some(_), None) => ", which leaves too few for one batch".to_string(),
    }
}
