use std::path::PathBuf;

use thiserror::Error;

use crate::classifier::ClassifierError;
use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;
use clipn_ood::calibration::CalibrationError;
use clipn_text::prompts::PromptError;

/// Error of building, reading, writing or using a bundle.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// The path does not exist.
    #[error("bundle not found: {}", path.display())]
    NotFound {
        /// The given path.
        path: PathBuf,
    },
    /// The file is not a bundle.
    #[error("not a bundle: {}", path.display())]
    NotABundle {
        /// The file.
        path: PathBuf,
    },
    /// The bundle has an unsupported format version.
    #[error("unsupported version of bundle {}: expected {known}, got {found}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// Supported version.
        known: u64,
    },
    /// The content of the bundle is inconsistent.
    #[error("bundle {} is corrupt: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The weights are not those that the bundle was built with.
    #[error(
        "the model {} does not match the bundle: {differing}",
        path.display()
    )]
    ModelMismatch {
        /// Path of the weights.
        path: PathBuf,
        /// The differences, separated by commas.
        differing: String,
    },
    /// The image tower does not match its config, or the weights are unusable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rows do not form a classifier, or building it failed.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The templates named in the weights cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The stored calibration is inconsistent.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

impl From<CheckpointError> for BundleError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::NotFound { path } => Self::NotFound { path },
            CheckpointError::Unrecognized { path, .. } | CheckpointError::Folder { path, .. } => {
                Self::NotABundle { path }
            }
            other => Self::Checkpoint(other),
        }
    }
}
