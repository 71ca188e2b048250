use std::path::PathBuf;

use thiserror::Error;

use clipn_checkpoint::CheckpointError;

/// What can go wrong between a model's config, its weights and its inputs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// `--model` names neither a known architecture nor a file.
    #[error("there is no model named `{name}` and no file of that name; known models: {known}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The embedded architectures, comma-separated.
        known: String,
    },
    /// A config file could not be read.
    #[error("cannot read the model config {}: {source}", path.display())]
    ReadConfig {
        /// The config file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A config is not what open_clip writes.
    #[error("the model config {origin} is not usable: {reason}")]
    BadConfig {
        /// The file or the embedded name.
        origin: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A config asks for a computation that this version does not have.
    #[error(
        "the model config {origin} asks for {what}, which clipn does not compute; use a plain CLIP config, ViT or ResNet"
    )]
    UnsupportedConfig {
        /// The file or the embedded name.
        origin: String,
        /// The key, with its value.
        what: String,
    },
    /// Weights that do not tell their architecture.
    #[error("the weights {} do not tell their architecture; {hint}", path.display())]
    NoConfig {
        /// The weights.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// A model was named, and the weights say that they are another.
    #[error(
        "the model `{model}` contradicts the weights {}, which say what they are: {differing}; leave --model out, or \
         name the model that they are",
        path.display()
    )]
    Contradiction {
        /// The weights.
        path: PathBuf,
        /// The model that was named.
        model: String,
        /// What it says and what the weights say.
        differing: String,
    },
    /// The weights could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights do not fit the config.
    #[error(
        "the weights {} do not fit the model `{model}`: {details}; `clipn inspect` tells what the file holds",
        path.display()
    )]
    WeightsMismatch {
        /// The weights file.
        path: PathBuf,
        /// The model's name.
        model: String,
        /// Missing, unexpected and wrong-shaped tensors.
        details: String,
    },
    /// A ResNet is asked of the config of a ViT.
    #[error(
        "the image tower of the model `{model}` is a ViT, not a ResNet; open it as the one that it is"
    )]
    NotAResNet {
        /// The model's name.
        model: String,
    },
    /// Training is asked to change an image tower that it can only keep frozen.
    #[error(
        "the image tower of the model `{model}` is a ResNet, which clipn does not train; teach it \"no\" with \
         `--objective clipn` or `clipn-handcrafted`, where the image tower is frozen, or train a ViT"
    )]
    FrozenOnly {
        /// The model's name.
        model: String,
    },
    /// Pixels whose length or size the tower cannot take.
    #[error("{0}")]
    Input(String),
    /// A token id outside the vocabulary.
    #[error(
        "token id {id} in text {row} is outside the vocabulary of {vocab_size}; the tokenizer belongs to another model"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// The row of the batch.
        row: usize,
        /// Rows of the token table.
        vocab_size: usize,
    },
    /// A "no" prompt that the model does not have.
    #[error(
        "the model has {count} \"no\" prompts; prompt {index} is not one of them (they count from 0)"
    )]
    PromptOutOfRange {
        /// The index asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
}
