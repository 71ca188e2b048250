use std::error::Error as StdError;
use std::path::PathBuf;

use clipn_base::content::ContentKind;
use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;
use clipn_ood::calibration::CalibrationError;
use thiserror::Error;

use crate::classifier::ClassifierError;
use crate::fitting::FittingError;
use crate::negatives::NegativesError;

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
    #[error("not a bundle: {}{}", path.display(), in_parentheses(found.as_deref()))]
    NotABundle {
        /// The file.
        path: PathBuf,
        /// What the file is, if it is known.
        found: Option<String>,
    },
    /// The bundle has an unsupported format version.
    #[error(
        "unsupported version of bundle {}: expected {supported}, got {found}",
        path.display()
    )]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// Supported version.
        supported: u64,
    },
    /// The content of the bundle is inconsistent.
    #[error("bundle {} is corrupt: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The weights are not those that the bundle was built with.
    #[error(
        "the model {} does not match the bundle: {}",
        path.display(),
        differences.join(", ")
    )]
    ModelMismatch {
        /// Path of the weights.
        path: PathBuf,
        /// What differs, such as `expected patch size 16, got 32`.
        differences: Vec<String>,
    },
    /// The image tower of the weights returns features without a direction.
    #[error("the image features are NaN, infinite or zero: the weights are damaged")]
    DamagedImageTower,
    /// The threshold belongs to a score of the caller's own, which a reader of the file would not have.
    #[error("the calibration uses the score `{score}`, which is not a built-in score")]
    CustomScore {
        /// Name of the score.
        score: &'static str,
    },
    /// A bundle could not be read again.
    #[error("a bundle of this classifier could not be read again: {problem}")]
    Unreadable {
        /// What is wrong.
        problem: String,
    },
    /// The description of a bundle cannot be written as JSON.
    #[error("cannot serialize the description of the bundle")]
    Serialize {
        /// Error of the serializer.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The image tower does not match its config, or the weights are unusable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rows do not form a classifier, or building it failed.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The negatives cannot be stored, or the stored ones are inconsistent.
    #[error(transparent)]
    Negatives(#[from] NegativesError),
    /// The fitted scores cannot be stored.
    #[error(transparent)]
    Fitting(#[from] FittingError),
    /// The stored calibration is inconsistent.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

impl BundleError {
    /// What a caller can do about the error, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotABundle { .. } => "`Bundle::build` makes a bundle of class names and weights",
            Self::UnsupportedVersion { .. } => "use a later version of clipn",
            Self::Corrupt { .. } => "build the bundle again",
            Self::ModelMismatch { .. } => {
                "use the weights that the bundle was built with, or build it again"
            }
            Self::CustomScore { .. } => {
                "keep the bundle without a calibration, and set the rule with `Detector::with_rule`"
            }
            Self::DamagedImageTower => "download the weights or save them again",
            Self::Classifier(error) => return error.hint(),
            _ => return None,
        })
    }
}

fn in_parentheses(found: Option<&str>) -> String {
    found.map_or_else(String::new, |found| format!(" ({found})"))
}

impl From<CheckpointError> for BundleError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::NotFound { path } => Self::NotFound { path },
            CheckpointError::Unrecognized {
                path, looks_like, ..
            } => {
                let kind = ContentKind::of_file(&path).unwrap_or(ContentKind::Unknown);
                let found = match kind {
                    ContentKind::Unknown => looks_like,
                    kind => kind.to_string(),
                };
                Self::NotABundle {
                    path,
                    found: Some(found),
                }
            }
            CheckpointError::NoWeightsInDirectory { path, .. }
            | CheckpointError::AmbiguousDirectory { path, .. } => Self::NotABundle {
                path,
                found: Some("a directory".to_owned()),
            },
            other => Self::Checkpoint(other),
        }
    }
}
