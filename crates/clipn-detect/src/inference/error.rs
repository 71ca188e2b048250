use std::error::Error as StdError;
use std::io;

use clipn_base::count::count;
use clipn_image::ImageError;
use clipn_model::ModelError;
use thiserror::Error;

use crate::classifier::ClassifierError;

/// Error of running images through a tower and a classifier. An image that cannot be read is not an
/// error of the run, but a result of its own.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// The tower rejects its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The classifier belongs to another model.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// A thread pool could not be started.
    #[error("cannot start {}", count(*.workers, "worker"))]
    Workers {
        /// Number of workers requested.
        workers: usize,
        /// Cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A worker thread could not be started.
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
    /// The work was cancelled.
    #[error("interrupted after {}", count(*.done, "image"))]
    Cancelled {
        /// Images finished.
        done: usize,
    },
}

/// Error of one image of a run, which the others do not share.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tower returned features without a direction, or the logits are not finite.
    #[error("the image features are NaN, infinite or zero: the weights are damaged")]
    InvalidFeatures,
    /// A row of features that was computed elsewhere has no direction.
    #[error("the row of features {problem}")]
    InvalidRow {
        /// What is wrong with it.
        problem: String,
    },
    /// The score that decides is NaN for finite logits.
    #[error("the score {score} of the image is NaN")]
    InvalidScore {
        /// Name of the score.
        score: &'static str,
    },
}

impl ItemError {
    /// What a caller can do about the error, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Image(error) => error.hint(),
            Self::InvalidFeatures => Some("download the weights or save them again"),
            Self::InvalidRow { .. } => Some("compute the features of the image again"),
            Self::InvalidScore { .. } => Some("use a score that is finite for finite logits"),
        }
    }
}
