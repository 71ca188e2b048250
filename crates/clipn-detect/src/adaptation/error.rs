use std::path::PathBuf;

use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;
use clipn_ood::streams::StreamError;
use thiserror::Error;

use crate::adaptation::AdaptiveMethod;

/// Error of a score that learns from the stream of images.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdaptationError {
    /// There is no method of this name.
    #[error("unknown method `{name}`: expected adaneg or tanl")]
    UnknownMethod {
        /// The name.
        name: String,
    },
    /// The classifier has no negatives, which the method adapts.
    #[error("{method} needs negatives, and the classifier has none")]
    NoNegatives {
        /// The method.
        method: AdaptiveMethod,
    },
    /// Words or features have another dimension than the classifier.
    #[error("expected {what} of dimension {expected}, got {found}")]
    Dimension {
        /// What was given.
        what: &'static str,
        /// Dimension of the classifier.
        expected: usize,
        /// Dimension that was given.
        found: usize,
    },
    /// Settings or input that the method refuses.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Features that are not whole rows.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A description that could not be written, never for valid settings.
    #[error("the memory could not be described")]
    Serialize {
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is no memory of a stream.
    #[error("{} is no memory of a stream", path.display())]
    NotMemory {
        /// Path of the file.
        path: PathBuf,
    },
    /// The memory is of another stream.
    #[error("{} is the memory of {reason}", path.display())]
    OtherStream {
        /// Path of the file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
}
