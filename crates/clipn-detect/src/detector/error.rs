use std::path::PathBuf;
use std::sync::Arc;

use clipn_base::count::count;
use clipn_image::ImageError;
use clipn_model::ModelError;
use clipn_ood::scores::ScoreError;
use thiserror::Error;

use crate::bundle::BundleError;
use crate::classifier::ClassifierError;
use crate::inference::{InferenceError, ItemError};

/// Error of creating or using a detector.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// The bundle cannot be used, or does not match the model.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The weights that a bundle names do not exist.
    #[error(
        "model of bundle {} not found: {}",
        bundle.display(),
        missing_source(source_name.as_deref())
    )]
    ModelNotFound {
        /// Path of the bundle.
        bundle: PathBuf,
        /// Source of the weights as named in the bundle.
        source_name: Option<String>,
    },
    /// The bundle does not contain the image tower.
    #[error("the bundle has no image tower")]
    NoImageTower,
    /// The weights cannot be used, or the image tower rejected its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The classifier does not match the image tower.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// A batch could not be run; the images of a batch share the error.
    #[error(transparent)]
    Inference(Arc<InferenceError>),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image was read but cannot be scored: its features or its score are not finite.
    #[error(transparent)]
    Item(ItemError),
    /// The score of the rule needs what the classifier does not have.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The threshold of a rule is NaN, which no image would reach.
    #[error("the threshold of {score} is not a number")]
    InvalidThreshold {
        /// Name of the score.
        score: &'static str,
    },
    /// The number of images in a batch is not the expected one.
    #[error("expected {}, got {found}", count(*.expected, "image"))]
    ImageCount {
        /// Expected number of images.
        expected: usize,
        /// Number of feature vectors that the image tower returned.
        found: usize,
    },
}

impl DetectorError {
    /// What a caller can do about the error, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bundle(error) => error.hint(),
            Self::ModelNotFound { .. } | Self::NoImageTower => Some(
                "open the weights and use `Detector::new`, or build the bundle with \
                 `BundleBuilder::with_image_tower`",
            ),
            Self::Classifier(error) => error.hint(),
            Self::Item(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<InferenceError> for DetectorError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Model(error) => Self::Model(error),
            InferenceError::Classifier(error) => Self::Classifier(error),
            error => Self::Inference(Arc::new(error)),
        }
    }
}

impl From<ItemError> for DetectorError {
    fn from(error: ItemError) -> Self {
        match error {
            ItemError::Image(error) => Self::Image(error),
            error => Self::Item(error),
        }
    }
}

fn missing_source(name: Option<&str>) -> String {
    name.map_or_else(
        || "the bundle does not name its source".to_owned(),
        |name| format!("{name} does not exist"),
    )
}
