use std::io;
use std::path::PathBuf;

use thiserror::Error;

use clipn_checkpoint::CheckpointError;

use crate::optimizer::OptimizerError;

/// Error of reading or writing training checkpoints.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A checkpoint could not be written. Earlier checkpoints are unchanged.
    #[error("cannot write the checkpoint {}; earlier checkpoints are unchanged", path.display())]
    Save {
        /// Directory of the checkpoint.
        path: PathBuf,
        /// Failure of one file or directory of the checkpoint.
        source: Box<StateError>,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// Operation, as a verb.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A weights file cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The directory has no `state.json`.
    #[error("{} is not a training checkpoint: state.json is missing", path.display())]
    NotACheckpoint {
        /// Directory.
        path: PathBuf,
    },
    /// `state.json` is not valid JSON of this format.
    #[error("invalid training state {}: {what}", path.display())]
    InvalidState {
        /// Path of the file.
        path: PathBuf,
        /// JSON error, with its position in the file.
        what: String,
    },
    /// `state.json` has an unsupported format version.
    #[error(
        "unsupported format of the training state {}: expected {known}, got {found}",
        path.display()
    )]
    UnsupportedFormat {
        /// Path of the file.
        path: PathBuf,
        /// Format version of the file.
        found: u64,
        /// Supported format version.
        known: u64,
    },
    /// A file differs from its record in `state.json`.
    #[error("corrupt checkpoint file {}: {what}", path.display())]
    Corrupt {
        /// Path of the file.
        path: PathBuf,
        /// Difference from the record.
        what: String,
    },
    /// The moments do not match the weights of the checkpoint.
    #[error("optimizer moments in {} do not match the weights: {what}", path.display())]
    MomentMismatch {
        /// Path of the file.
        path: PathBuf,
        /// The moment and its mismatch.
        what: String,
    },
    /// AdamW rejects the settings or moments.
    #[error("cannot restore the optimizer in {}", path.display())]
    Optimizer {
        /// Path of the file.
        path: PathBuf,
        /// Error of the optimizer.
        source: OptimizerError,
    },
    /// A `.pt` file is not a training checkpoint of the published code.
    #[error(
        "{} is not a training checkpoint of the published code: {what}",
        path.display()
    )]
    NotAPublishedCheckpoint {
        /// Path of the file.
        path: PathBuf,
        /// What is missing or mismatched.
        what: String,
    },
}

impl StateError {
    /// Wraps an I/O error, for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
