use std::path::PathBuf;

use clipn_base::count::count;
use thiserror::Error;

use clipn_detect::adaptation::AdaptationError;
use clipn_detect::classifier::ClassifierError;
use clipn_detect::inference::{InferenceError, ItemError};
use clipn_image::ImageError;
use clipn_ood::metrics::MetricError;
use clipn_ood::scores::ScoreError;

/// Error of scoring images or evaluating a benchmark.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// An image could not be read, with [`EvaluationOptions::strict`](crate::EvaluationOptions::strict).
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image cannot be scored, with [`EvaluationOptions::strict`](crate::EvaluationOptions::strict).
    #[error("cannot score {}", path.display())]
    Item {
        /// Path of the image.
        path: PathBuf,
        /// Why.
        source: ItemError,
    },
    /// Images could not be run through the tower and the classifier.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The classifier does not match the model, or has no classes.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// A score needs what the classifier does not have.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The metrics of a score on a set cannot be computed.
    #[error("cannot compute metrics of the score {score} on {ood}")]
    Metric {
        /// Name of the score.
        score: &'static str,
        /// Name of the out-of-distribution set.
        ood: String,
        /// Error of the metric.
        source: MetricError,
    },
    /// The metrics of a score from a file on a set cannot be computed.
    #[error("cannot compute metrics of the score {score} on {ood}")]
    ExternalMetric {
        /// Name of the score.
        score: String,
        /// Name of the out-of-distribution set.
        ood: String,
        /// Error of the metric.
        source: MetricError,
    },
    /// The metrics of a score that learns from the stream of images cannot be computed.
    #[error("cannot compute metrics of the stream with {ood}")]
    StreamMetric {
        /// Name of the out-of-distribution set.
        ood: String,
        /// Error of the metric.
        source: MetricError,
    },
    /// A score that learns from the stream of images refused its input.
    #[error(transparent)]
    Adaptation(#[from] AdaptationError),
    /// No image of a set could be read.
    #[error("none of the images of `{set}` ({count}) could be read; first error: {first}")]
    NoReadableImages {
        /// Name of the set.
        set: String,
        /// Number of images in the set.
        count: usize,
        /// Error of the first image.
        first: String,
    },
    /// A label is out of range for the class names.
    #[error(
        "label of {} is out of range: expected at most {}, got {label}",
        path.display(),
        classes.saturating_sub(1)
    )]
    LabelOutOfRange {
        /// Path of the image.
        path: PathBuf,
        /// Label of the image.
        label: usize,
        /// Number of class names.
        classes: usize,
    },
    /// A result file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Fewer than two repeats were requested, which have no spread.
    #[error("expected at least 2 repeats, got {n}")]
    TooFewRepeats {
        /// Requested number of repeats.
        n: usize,
    },
    /// The size of subsets is 0 or exceeds the number of images in a set.
    #[error(
        "invalid subset size: expected 1 to {images}, the readable images of `{set}`, got {size}"
    )]
    InvalidSubsetSize {
        /// Requested size.
        size: usize,
        /// Name of the smallest set.
        set: String,
        /// Number of readable images in the set.
        images: usize,
    },
    /// The evaluation of streams was canceled.
    #[error("interrupted after {done} of {}; nothing was written", count(*.total, "stream"))]
    StreamsInterrupted {
        /// Number of scored streams.
        done: usize,
        /// Number of streams in all.
        total: usize,
    },
    /// The repeats were canceled.
    #[error("interrupted before all {n} repeats were computed; nothing was written")]
    RepeatsInterrupted {
        /// Requested number of repeats.
        n: usize,
    },
    /// A result file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Results of an earlier version lack the metrics of OpenOOD's table.
    #[error("the results have neither AUPR by the trapezoidal rule nor FPR95 in every convention")]
    WithoutOpenoodMetrics,
    /// A file does not hold the results of an evaluation.
    #[error("{} does not hold the results of an evaluation: {reason}", path.display())]
    InvalidResults {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with the content.
        reason: String,
    },
    /// Fewer than two runs were given to merge.
    #[error("expected at least 2 runs to merge, got {n}")]
    TooFewRuns {
        /// Number of given runs.
        n: usize,
    },
    /// The results to merge are already a mean of runs.
    #[error("cannot merge {path}: it is already the mean of {n} runs")]
    AlreadyMerged {
        /// File of the results.
        path: String,
        /// Number of runs in the mean.
        n: usize,
    },
    /// The runs are not of one evaluation.
    #[error("runs differ in more than weights and seeds: {what} is {first} and {other}")]
    RunsDiffer {
        /// What differs, such as `settings.templates`.
        what: String,
        /// Value in the first run, with the run.
        first: String,
        /// Value in another run, with the run.
        other: String,
    },
    /// A set of features has more or fewer names or labels than rows.
    #[error("expected {expected} {what} of `{set}`, one per row, got {found}")]
    FeatureSetLength {
        /// Name of the set.
        set: String,
        /// `names` or `labels`.
        what: &'static str,
        /// Number of rows.
        expected: usize,
        /// Number of names or labels.
        found: usize,
    },
    /// A set of features has no rows.
    #[error("`{set}` has no features")]
    NoFeatures {
        /// Name of the set.
        set: String,
    },
    /// Scoring was canceled.
    #[error("interrupted after {done} of {}; nothing was written", count(*.total, "image"))]
    Interrupted {
        /// Number of scored images.
        done: usize,
        /// Number of images in all.
        total: usize,
    },
    /// The processes that share an evaluation could not exchange scores.
    #[error("cannot exchange scores with other processes")]
    Peers {
        /// Error of the exchange.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another of the processes that share an evaluation failed.
    #[error("rank {rank}: {problem}")]
    PeerFailed {
        /// Index of the process.
        rank: usize,
        /// Its error.
        problem: String,
    },
}

impl EvaluationError {
    /// The error of one image; those of reading name the file themselves.
    pub(crate) fn from_item(error: ItemError, path: PathBuf) -> Self {
        match error {
            ItemError::Image(error) => Self::Image(error),
            source => Self::Item { path, source },
        }
    }

    /// Advice for the caller: what to change or to try next; `None` if the message says it all.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Self::LabelOutOfRange { .. } => "use the class names that the labels belong to",
            Self::WithoutOpenoodMetrics => "evaluate again, since an earlier version wrote them",
            Self::InvalidResults { .. } => "use a results.json of an evaluation or of merged runs",
            Self::AlreadyMerged { .. } => "merge the runs themselves",
            Self::InvalidSubsetSize { .. } => "lower `subset`",
            Self::RunsDiffer { .. } => {
                "compare runs of one benchmark with equal settings, or each on its own"
            }
            _ => return None,
        };
        Some(hint)
    }
}
