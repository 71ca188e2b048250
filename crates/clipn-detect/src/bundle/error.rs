use std::path::PathBuf;

use thiserror::Error;

use clipn_ood::calibration::CalibrationError;
use clipn_checkpoint::CheckpointError;
use crate::classifier::ClassifierError;
use clipn_model::ModelError;
use clipn_text::prompts::PromptError;

/// What can be wrong with a bundle.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// There is nothing at the path.
    #[error("there is no bundle {}; check the path, or build it with `clipn classifier build`", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// Some other file.
    #[error(
        "{} is not a bundle; `clipn classifier build --classes ... --out shop.clipn` makes one, and weights are given with \
         --pretrained",
        path.display()
    )]
    NotABundle {
        /// The file.
        path: PathBuf,
    },
    /// A bundle of a later program.
    #[error("{} is a bundle of version {found}; this program reads version {known}, take a later one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version known.
        known: u64,
    },
    /// What is in it does not hold together.
    #[error("{} is damaged: {reason}; build it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Weights that the classes do not belong to.
    #[error(
        "{} is not the model that the bundle was built for ({differing}); give that one with --pretrained, or build the \
         bundle again",
        path.display()
    )]
    OtherModel {
        /// The weights.
        path: PathBuf,
        /// What differs.
        differing: String,
    },
    /// The image tower does not fit its config.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rows do not make a classifier.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The templates that the weights name cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The stored calibration does not hold together.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

impl From<CheckpointError> for BundleError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::NotFound { path } => Self::NotFound { path },
            CheckpointError::Unrecognised { path, .. } | CheckpointError::Folder { path, .. } => {
                Self::NotABundle { path }
            }
            other => Self::Checkpoint(other),
        }
    }
}
