use std::path::PathBuf;

use thiserror::Error;

use clipn_checkpoint::CheckpointError;

/// Error of a model's config, weights or inputs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A name that is neither a known architecture nor a file.
    #[error("unknown model `{name}`, and no file has that name; known models: {known}")]
    UnknownModel {
        /// The given name.
        name: String,
        /// Names of the embedded architectures, separated by commas.
        known: String,
    },
    /// A config file cannot be read.
    #[error("cannot read model config {}", path.display())]
    ReadConfig {
        /// The config file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A config is malformed or has an invalid value.
    #[error("invalid model config {origin}: {reason}")]
    BadConfig {
        /// The file or the name of the embedded architecture.
        origin: String,
        /// The key and the invalid value.
        reason: String,
    },
    /// A config requires a computation that this version does not implement.
    #[error(
        "unsupported {what} in model config {origin}; expected a plain CLIP with a ViT or ResNet"
    )]
    UnsupportedConfig {
        /// The file or the name of the embedded architecture.
        origin: String,
        /// The key with its value.
        what: String,
    },
    /// Weights without a config, and no architecture given.
    #[error("unknown architecture of the weights {}: {hint}", path.display())]
    NoConfig {
        /// The weights.
        path: PathBuf,
        /// The reason, or what would determine the architecture.
        hint: String,
    },
    /// The given architecture differs from the config of the weights.
    #[error(
        "model `{model}` differs from the config of the weights {}: {differing}",
        path.display()
    )]
    Contradiction {
        /// The weights.
        path: PathBuf,
        /// The given architecture.
        model: String,
        /// The differing keys, with the given value and that of the weights.
        differing: String,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights do not fit the config.
    #[error(
        "the weights {} do not fit the model `{model}`: {details}",
        path.display()
    )]
    WeightsMismatch {
        /// The weights file.
        path: PathBuf,
        /// The model's name.
        model: String,
        /// Counts and first names of missing, unexpected and wrongly shaped tensors.
        details: String,
    },
    /// The parameters of a ResNet are requested for the config of a ViT.
    #[error("expected a ResNet as the image tower of the model `{model}`, got a ViT")]
    NotAResNet {
        /// The model's name.
        model: String,
    },
    /// Training would update an image tower that can only be frozen.
    #[error(
        "cannot train the image tower of the model `{model}`: a ResNet is supported only frozen"
    )]
    UntrainableResNet {
        /// The model's name.
        model: String,
    },
    /// An input of the wrong length or size.
    #[error("{0}")]
    Input(String),
    /// A token id outside the vocabulary.
    #[error("token id {id} in text {row} is outside the vocabulary of {vocab_size} ids")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// The row in the batch.
        row: usize,
        /// Number of rows of the token embedding.
        vocab_size: usize,
    },
    /// A "no" prompt that the model does not have.
    #[error("\"no\" prompt index {index} is out of range for {count} prompts")]
    PromptOutOfRange {
        /// The given index, from 0.
        index: usize,
        /// Number of "no" prompts.
        count: usize,
    },
}
