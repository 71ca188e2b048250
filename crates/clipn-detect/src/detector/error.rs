use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::bundle::BundleError;
use crate::classifier::ClassifierError;
use crate::inference::InferenceError;
use clipn_image::ImageError;
use clipn_model::ModelError;

/// What can go wrong between a picture and its label.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The weights that a bundle names are not there.
    #[error(
        "the model of {} is not here: {}; give it with --pretrained (in Rust: `Detector::new`), or build the bundle \
         with --with-model, which puts the image tower into it",
        bundle.display(),
        source_text(source_name.as_deref())
    )]
    NoModel {
        /// The bundle.
        bundle: PathBuf,
        /// Where it says that they are.
        source_name: Option<String>,
    },
    /// The weights cannot be used, or the tower refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The classifier belongs to another model.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// A batch could not be run; the images of a batch share the error.
    #[error(transparent)]
    Inference(Arc<InferenceError>),
    /// The picture cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tower gave no features.
    #[error("the image tower gave no features for a picture; its weights are damaged")]
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

fn source_text(name: Option<&str>) -> String {
    name.map_or_else(
        || "the bundle does not say where it was".to_owned(),
        |name| format!("there is no {name}"),
    )
}
