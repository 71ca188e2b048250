use std::io;
use std::path::{Path, PathBuf};

use clipn_checkpoint::CheckpointError;
use thiserror::Error;

use crate::convert::ConversionTarget;
use crate::error::ModelError;

/// Error of a conversion. No partial output is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The weights cannot be read, or do not fit their config.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The weights cannot be written.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// Only the rows of the training vocabulary were requested, but the weights do not contain it.
    #[error("no training vocabulary in the weights {}", path.display())]
    NoTrainingVocabulary {
        /// The weights file.
        path: PathBuf,
    },
    /// A ResNet cannot be written for `transformers`.
    #[error(
        "cannot write the model `{model}` for transformers: CLIPModel has no ResNet image tower"
    )]
    ResNetUnsupported {
        /// The model's name.
        model: String,
    },
    /// Positional embeddings that clipn resizes on load. Other programs resize them differently or
    /// not at all.
    #[error(
        "expected {expected} rows of {tensor} for the model `{model}`, got {stored}; \
        other programs do not resize positional embeddings"
    )]
    PositionCount {
        /// The model's name.
        model: String,
        /// Name of the positional embedding.
        tensor: String,
        /// Number of rows in the file.
        stored: usize,
        /// Number of rows in the model.
        expected: usize,
    },
    /// The output exists.
    #[error("{} already exists", path.display())]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// The output is the input.
    #[error("the output {} is also an input", path.display())]
    OutputIsInput {
        /// The output.
        path: PathBuf,
    },
    /// The output path is not usable.
    #[error("cannot write {} as {}: {reason}", path.display(), to.description())]
    InvalidOutput {
        /// The output.
        path: PathBuf,
        /// The requested format.
        to: ConversionTarget,
        /// The reason.
        reason: String,
    },
    /// A failure of the operating system.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The failed operation, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The conversion was canceled.
    #[error("canceled before {} was written; no partial output is left", path.display())]
    Canceled {
        /// The output.
        path: PathBuf,
    },
}

impl ConvertError {
    /// Returns a closure that adds the operation and the path to an I/O error.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConvertError {
        let path = path.to_owned();
        move |source| ConvertError::Io {
            action,
            path,
            source,
        }
    }
}
