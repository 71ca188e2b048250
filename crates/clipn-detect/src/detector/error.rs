use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::bundle::BundleError;
use crate::classifier::ClassifierError;
use crate::inference::InferenceError;
use clipn_image::ImageError;
use clipn_model::ModelError;

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
    NoModel {
        /// Path of the bundle.
        bundle: PathBuf,
        /// Source of the weights as named in the bundle.
        source_name: Option<String>,
    },
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
    /// The image tower returned no features.
    #[error("the image tower returned no features")]
    Empty,
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

fn missing_source(name: Option<&str>) -> String {
    name.map_or_else(
        || "the bundle does not name its source".to_owned(),
        |name| format!("{name} does not exist"),
    )
}
