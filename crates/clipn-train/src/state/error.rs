use std::io;
use std::path::PathBuf;

use thiserror::Error;

use clipn_checkpoint::CheckpointError;
use crate::OptimizerError;

/// What can go wrong with training checkpoints.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A checkpoint could not be written. Earlier ones are as they were.
    #[error(
        "could not write the checkpoint {}: {source}; earlier checkpoints are untouched, so make room and resume",
        path.display()
    )]
    Save {
        /// The folder that was to be.
        path: PathBuf,
        /// Why.
        source: Box<StateError>,
    },
    /// Another failure of the operating system.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A weights file that cannot be read or written.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// A folder that holds no training checkpoint.
    #[error("{} is no training checkpoint: it holds no state.json; give a step-N or epoch-N folder", path.display())]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// A state that is no JSON of the right form.
    #[error("the state {} cannot be read: {what}; resume from an earlier checkpoint", path.display())]
    BadState {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        what: String,
    },
    /// A state of another version of the format.
    #[error(
        "the state {} is of format {found}, and this program reads format {known}; resume with the program that \
         wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format that is read.
        known: u64,
    },
    /// A file that is not what the state says was written.
    #[error(
        "{} is damaged: {what}; remove its folder and resume from the checkpoint before it",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it differs from what was written.
        what: String,
    },
    /// Moments that do not belong to the weights beside them.
    #[error("the moments in {} do not fit: {what}; resume from another checkpoint", path.display())]
    Moments {
        /// The file.
        path: PathBuf,
        /// Which moment, and what is wrong with it.
        what: String,
    },
    /// Settings or moments that AdamW refuses.
    #[error("the optimizer in {} cannot be restored: {source}", path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OptimizerError,
    },
    /// A `.pt` file without what the published training saves.
    #[error(
        "{} is no training checkpoint of the published code: {what}; to start from its weights alone, give it as \
         pretrained weights",
        path.display()
    )]
    NotPublished {
        /// The file.
        path: PathBuf,
        /// What is missing or does not fit.
        what: String,
    },
}

impl StateError {
    /// A failure of the operating system, for `map_err`.
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
