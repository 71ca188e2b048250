//! The program's error type, its exit codes, and how an error is printed.

pub(crate) mod hints;
mod report;

pub(crate) use clipn::error::chain_in_one_line;
pub(crate) use report::{report, report_of_rank};

use std::path::PathBuf;

use clipn::adaptation::AdaptationError;
use clipn::bundle::BundleError;
use clipn::calibration::CalibrationError;
use clipn::checkpoint::CheckpointError;
use clipn::classifier::ClassifierError;
use clipn::count::count;
use clipn::dataset::{DatasetError, FeatureError};
use clipn::detector::DetectorError;
use clipn::download::DownloadError;
use clipn::evaluation::EvaluationError;
use clipn::evaluation::score_files::ScoreFileError;
use clipn::files::LockError;
use clipn::fitted::FitError;
use clipn::fitting::FittingError;
use clipn::gpu::DeviceError;
use clipn::image::ImageError;
use clipn::inference::{FeatureCacheError, InferenceError, ItemError};
use clipn::model::{ConvertError, ModelError};
use clipn::negatives::NegativesError;
use clipn::prompts::PromptError;
use clipn::report::ReportError;
use clipn::scores::ScoreError;
use clipn::tokenizer::TokenizerError;
use clipn::training::TrainingError;
use clipn::training_log::TrainingLogError;
use thiserror::Error;

use crate::common::interrupt;
use crate::world::DemoError;

/// Exit code of an interrupt.
pub(crate) const INTERRUPTED: u8 = 130;

/// Any error that ends the program. Messages state what is wrong; advice is in `hints`.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Adaptation(#[from] AdaptationError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error(transparent)]
    Detector(#[from] DetectorError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Feature(#[from] FeatureError),
    #[error(transparent)]
    FeatureCache(#[from] FeatureCacheError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Fitting(#[from] FittingError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Negatives(#[from] NegativesError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Score(#[from] ScoreError),
    #[error(transparent)]
    ScoreFile(#[from] ScoreFileError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Training(#[from] TrainingError),
    #[error(transparent)]
    TrainingLog(#[from] TrainingLogError),
    #[error("{sets} of {of} sets of the benchmark {name} are not complete")]
    IncompleteBenchmark {
        name: String,
        sets: usize,
        of: usize,
    },
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
    #[error("cannot create the directory {}", path.display())]
    OutputDirectory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot install the handler for Ctrl-C")]
    Interrupt(#[from] ctrlc::Error),
    #[error("cannot classify {name}")]
    Item { name: String, source: ItemError },
    #[error("{}", no_image_classified(*.images))]
    NoImageClassified { images: u64 },
    #[error("cannot set the handling of signals")]
    WatchSignals(#[source] std::io::Error),
    #[error("cannot block the signal SIGHUP")]
    BlockSignal(#[source] std::io::Error),
    #[error("interrupted after {}", done_of(*.done, *.total, "image"))]
    Interrupted { done: u64, total: Option<u64> },
    #[error(
        "interrupted after {}; their rows are in {}",
        done_of(*.done, *.total, "image"), path.display()
    )]
    ClassifyInterrupted {
        done: u64,
        total: Option<u64>,
        path: PathBuf,
    },
    #[error(
        "interrupted after {}; those of {} are kept",
        done_of(*.done, *.total, "row"), path.display()
    )]
    EmbedInterrupted {
        done: u64,
        total: Option<u64>,
        path: PathBuf,
    },
    #[error("none of {items} {what} could be encoded: {}", path.display())]
    NothingEncoded {
        items: u64,
        what: &'static str,
        /// File of the errors.
        path: PathBuf,
    },
    #[error(
        "{sources} {} could not be read to the end: an unknown number of images is lost, after \
         {images} that were read",
        if *sources == 1 { "source" } else { "sources" }
    )]
    SourcesLost { sources: u64, images: u64 },
    #[error("cannot read {}", path.display())]
    ReadFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}", path.display())]
    WriteFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("another program {change} {} during the run: rows are lost", path.display())]
    OutputChanged {
        path: PathBuf,
        /// What it did: `removed or replaced`, `changed`.
        change: &'static str,
    },
    #[error("row {row} of {} is damaged: {problem}", path.display())]
    DamagedRow {
        path: PathBuf,
        /// Counted from 1; the header of a CSV file counts.
        row: u64,
        problem: String,
    },
    #[error("interrupted after {step} of {}", count(*.steps, "step"))]
    TrainingInterrupted {
        step: u64,
        steps: u64,
        /// Exit code, that of a requeue if the system gave notice of the end.
        exit_code: u8,
    },
    #[error("interrupted after {step} of {} of training", count(*.steps, "step"))]
    DemoInterrupted { step: u64, steps: u64 },
    #[error("interrupted in the step `{step}`")]
    RecipeInterrupted { step: String },
    #[error("cannot read the recipe {}", path.display())]
    ReadRecipe {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("invalid recipe {origin}: {reason}")]
    InvalidRecipe { origin: String, reason: String },
    #[error("interrupted after {done} of {total} tasks")]
    BenchInterrupted { done: usize, total: usize },
    #[error("{task}: {error}")]
    BenchTask { task: String, error: String },
    #[error("the features of {images} of {total} images are not finite, or 0, in {precision}")]
    NoDirection {
        precision: clipn::model::Precision,
        images: usize,
        total: usize,
    },
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] clipn_serve::ServeError),
    #[cfg(feature = "serve")]
    #[error("no server answers at {address}")]
    NoServer {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[cfg(feature = "serve")]
    #[error("the server at {address} is not healthy: {problem}")]
    Unhealthy {
        address: std::net::SocketAddr,
        problem: String,
    },
    #[cfg(feature = "serve")]
    #[error("cannot read the API keys in {}", path.display())]
    KeysFile {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Wrong usage that clap does not detect.
    #[error("{message}")]
    Usage {
        message: String,
        /// Advice; printed as a `hint:` line.
        hint: Option<String>,
    },
}

impl CliError {
    /// Wrong usage without advice.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// Wrong usage with advice for a `hint:` line.
    pub(crate) fn usage_with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The error of one image; those of reading name the image themselves.
    pub(crate) fn from_item(name: impl Into<String>, error: ItemError) -> Self {
        match error {
            ItemError::Image(error) => Self::Image(error),
            source => Self::Item {
                name: name.into(),
                source,
            },
        }
    }

    /// Whether the reader of standard output or standard error has gone, and the work was stopped
    /// for it.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == std::io::ErrorKind::BrokenPipe,
            error => error.is_interrupt() && interrupt::is_pipe_closed(),
        }
    }

    /// Whether the work stopped because a stop was requested.
    fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Interrupted { .. }
                | Self::ClassifyInterrupted { .. }
                | Self::EmbedInterrupted { .. }
                | Self::TrainingInterrupted { .. }
                | Self::DemoInterrupted { .. }
                | Self::BenchInterrupted { .. }
                | Self::RecipeInterrupted { .. }
                | Self::Classifier(ClassifierError::Cancelled)
                | Self::Convert(ConvertError::Canceled { .. })
                | Self::Demo(DemoError::Cancelled { .. })
                | Self::Download(DownloadError::Cancelled { .. })
                | Self::Evaluation(
                    EvaluationError::Interrupted { .. }
                        | EvaluationError::RepeatsInterrupted { .. }
                        | EvaluationError::StreamsInterrupted { .. },
                )
                | Self::Inference(InferenceError::Cancelled { .. })
        )
    }

    /// Whether every rank of a run returns this error after the same step.
    pub(crate) fn is_agreed(&self) -> bool {
        matches!(self, Self::TrainingInterrupted { .. })
    }

    /// 2 for wrong usage, 130 for an interrupt, 1 for everything else.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::TrainingInterrupted { exit_code, .. } => *exit_code,
            Self::Usage { .. }
            | Self::Download(
                DownloadError::InvalidName { .. }
                | DownloadError::InvalidUrl { .. }
                | DownloadError::UnsafePath { .. }
                | DownloadError::TagWithoutModel { .. },
            )
            // An output that exists, as of every command.
            | Self::Convert(ConvertError::OutputExists { .. })
            | Self::Training(TrainingError::Log(TrainingLogError::AlreadyExists { .. }))
            | Self::Demo(DemoError::NotEmpty { .. }) => 2,
            Self::Training(error) if error.is_of_settings() => 2,
            #[cfg(feature = "serve")]
            Self::Serve(clipn_serve::ServeError::InvalidSetting(_)) => 2,
            error if error.is_interrupt() => INTERRUPTED,
            _ => 1,
        }
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

impl From<csv::Error> for CliError {
    fn from(error: csv::Error) -> Self {
        if !error.is_io_error() {
            return Self::Output(error.into());
        }
        // The conversion of the crate hides the kind of an I/O error, such as a closed pipe.
        Self::Output(match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            _ => std::io::ErrorKind::Other.into(),
        })
    }
}

fn no_image_classified(images: u64) -> String {
    match images {
        1 => "the image could not be classified".to_owned(),
        _ => format!("none of the {images} images could be classified"),
    }
}

/// `3 of 20 images`, or `3 images` if the total is not known.
fn done_of(done: u64, total: Option<u64>, what: &str) -> String {
    match total {
        Some(total) => format!("{done} of {}", count(total, what)),
        None => count(done, what).to_string(),
    }
}
