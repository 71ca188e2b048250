use std::path::PathBuf;
use std::process::ExitCode;

use clipn::bundle::BundleError;
use clipn::calibration::CalibrationError;
use clipn::checkpoint::CheckpointError;
use clipn::classifier::ClassifierError;
use clipn::dataset::DatasetError;
use clipn::demo::DemoError;
use clipn::detector::DetectorError;
use clipn::download::DownloadError;
use clipn::evaluation::EvaluationError;
use clipn::image::ImageError;
use clipn::model::{ConvertError, ModelError};
use clipn::prompts::PromptError;
use clipn::report::ReportError;
use clipn::tokenizer::TokenizerError;
use clipn::training::TrainingError;
use thiserror::Error;

/// Whatever ends the program early, told in one line.
#[derive(Debug, Error)]
pub enum CliError {
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
    Download(#[from] DownloadError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Training(#[from] TrainingError),
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    #[error("cannot make the folder {}: {source}", path.display())]
    OutputFolder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot watch for Ctrl-C: {0}")]
    Interrupt(#[from] ctrlc::Error),
    #[error("interrupted after {done}{} images", of(*.total))]
    Interrupted { done: u64, total: Option<u64> },
    #[error(
        "interrupted after {done}{} images, which are in {}; the same command goes on there with --resume",
        of(*.total), path.display()
    )]
    ClassifyInterrupted {
        done: u64,
        total: Option<u64>,
        path: PathBuf,
    },
    #[error("cannot read {}: {source}", path.display())]
    ReadList {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}: {source}", path.display())]
    WriteRows {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("interrupted after {step} of {steps} steps; go on with --resume latest")]
    TrainingInterrupted { step: u64, steps: u64 },
    #[error("interrupted in the step `{step}`; the same command goes on there")]
    RecipeInterrupted { step: String },
    #[error("cannot read the recipe {}: {source}", path.display())]
    ReadRecipe {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the recipe {origin} is not usable: {reason}")]
    BadRecipe { origin: String, reason: String },
    #[error("interrupted after {done} of {total} tasks")]
    BenchInterrupted { done: usize, total: usize },
    #[error("{task}: {error}")]
    BenchTask { task: String, error: String },
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] clipn_serve::ServeError),
    #[cfg(feature = "serve")]
    #[error("cannot read the API keys of {}: {source}", path.display())]
    KeysFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// 2 for wrong use, 130 for an interrupt, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_)
            | Self::Download(DownloadError::Name { .. } | DownloadError::TagWithoutModel { .. }) => {
                ExitCode::from(2)
            }
            #[cfg(feature = "serve")]
            Self::Serve(clipn_serve::ServeError::Setting(_)) => ExitCode::from(2),
            Self::Interrupted { .. }
            | Self::ClassifyInterrupted { .. }
            | Self::TrainingInterrupted { .. }
            | Self::BenchInterrupted { .. }
            | Self::RecipeInterrupted { .. }
            | Self::Classifier(ClassifierError::Cancelled)
            | Self::Convert(ConvertError::Cancelled { .. })
            | Self::Demo(DemoError::Cancelled { .. })
            | Self::Download(DownloadError::Cancelled { .. })
            | Self::Evaluation(EvaluationError::Cancelled { .. }) => ExitCode::from(130),
            _ => ExitCode::FAILURE,
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
        Self::Output(error.into())
    }
}

fn of(total: Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}
