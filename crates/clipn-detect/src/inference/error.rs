use std::error::Error as StdError;
use std::io;

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
    #[error("cannot start {workers} workers")]
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
    #[error("interrupted after {done} images")]
    Cancelled {
        /// Images finished.
        done: usize,
    },
}
