use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Target;
use clipn_checkpoint::CheckpointError;
use crate::ModelError;

/// Why weights were not converted. Whatever it is, nothing is left of what was being written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The weights could not be read, or do not fit their config.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The weights could not be written.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// Only the rows of the words that the model has read are asked for, and nobody knows them.
    #[error(
        "{} does not tell which words the model has read, as weights do that clipn trained from nothing; leave \
         --only-seen-words out",
        path.display()
    )]
    NoSeenWords {
        /// The weights.
        path: PathBuf,
    },
    /// `transformers` is asked to take a ResNet.
    #[error(
        "the image tower of the model `{model}` is a ResNet, which transformers' CLIPModel does not have; convert it \
         with --to open-clip"
    )]
    ResNet {
        /// The model's name.
        model: String,
    },
    /// Positional embeddings that clipn resizes when it loads them, and others do in other ways or not at all.
    #[error(
        "the weights have {stored} positions of an image ({tensor}) where the model `{model}` has {expected}; clipn \
         resizes them as it loads them, others do not: give the --model that the weights were trained as, or convert \
         with --to clipn"
    )]
    Positions {
        /// The model's name.
        model: String,
        /// The positional embedding.
        tensor: String,
        /// Its rows.
        stored: usize,
        /// Rows of the model's.
        expected: usize,
    },
    /// There is something under the name already.
    #[error("{} is there already; give another name, or --force to replace it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The output would take the place of the input.
    #[error("{} is what is read; give another name for what is written", path.display())]
    Same {
        /// The output.
        path: PathBuf,
    },
    /// A name that cannot be that of the output.
    #[error("{} cannot be written as {to}: {reason}", path.display())]
    Output {
        /// The output.
        path: PathBuf,
        /// What it was to be.
        to: Target,
        /// Why, and what to do.
        reason: String,
    },
    /// A failure of the operating system.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// Converting was asked to stop.
    #[error("interrupted before {} was written; nothing of it is left", path.display())]
    Cancelled {
        /// The output.
        path: PathBuf,
    },
}

impl ConvertError {
    /// What makes an error of the operating system one of ours.
    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> ConvertError {
        let path = path.to_owned();
        move |source| ConvertError::Io {
            action,
            path,
            source,
        }
    }
}
