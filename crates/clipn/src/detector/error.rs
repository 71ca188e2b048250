use std::path::PathBuf;

use thiserror::Error;

use crate::bundle::BundleError;
use crate::classifier::ClassifierError;
use crate::image::ImageError;
use crate::model::ModelError;

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
    /// The picture cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tower gave no features.
    #[error("the image tower gave no features for a picture; its weights are damaged")]
    Empty,
}

fn source_text(name: Option<&str>) -> String {
    name.map_or_else(
        || "the bundle does not say where it was".to_owned(),
        |name| format!("there is no {name}"),
    )
}
