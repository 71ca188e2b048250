use std::path::PathBuf;

use thiserror::Error;

use crate::classifier::ClassifierError;
use crate::image::ImageError;
use crate::metrics::MetricError;
use crate::model::ModelError;

/// What can go wrong while images are scored and a benchmark is evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// An image could not be read, and a single one is enough to stop.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tower refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The classifier belongs to another model.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The scores of a set do not give metrics.
    #[error("the score {score} on {ood}: {source}")]
    Metric {
        /// The score's name.
        score: &'static str,
        /// The out-of-distribution set.
        ood: String,
        /// Why.
        source: MetricError,
    },
    /// Not one image of a set could be read.
    #[error("none of the {count} images of `{set}` could be read; the first error: {first}")]
    NothingReadable {
        /// The set's name.
        set: String,
        /// How many images it has.
        count: usize,
        /// The first image's error.
        first: String,
    },
    /// A label points beyond the class names.
    #[error(
        "{} has label {label}, but there are {classes} class names; the list of classes does not belong to these images",
        path.display()
    )]
    Label {
        /// The image.
        path: PathBuf,
        /// Its label.
        label: usize,
        /// How many names there are.
        classes: usize,
    },
    /// A result could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The threads could not be started.
    #[error("cannot start {workers} workers: {reason}; ask for fewer with --workers")]
    Workers {
        /// How many were asked for.
        workers: usize,
        /// Why.
        reason: String,
    },
    /// The work was asked to stop.
    #[error("interrupted after {done}{} images; nothing was written", of(*.total))]
    Cancelled {
        /// Images finished.
        done: usize,
        /// Images in all, where they are counted.
        total: Option<usize>,
    },
}

fn of(total: Option<usize>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}
