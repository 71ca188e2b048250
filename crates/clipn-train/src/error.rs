use thiserror::Error;

use super::{
    CommunicatorError, FeatureCacheError, ObjectiveError, OptimizerError, ScheduleError, StateError,
};
use crate::training_log::TrainingLogError;
use clipn_checkpoint::CheckpointError;
use clipn_data::TrainingDataError;
use clipn_model::ModelError;
use clipn_text::prompts::PromptError;

/// Error that ends a training run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The objective trains a "no" tower, and the weights have none.
    #[error("the objective `{objective}` needs a \"no\" tower, got none")]
    MissingNoTower {
        /// Name of the objective.
        objective: &'static str,
    },
    /// A trainable tower was given features instead of pixels or token ids.
    #[error("a trainable tower needs pixels or token ids, got precomputed features")]
    PrecomputedFeatures,
    /// A setting is invalid.
    #[error("{setting}: {problem}")]
    Setting {
        /// Field of [`TrainSettings`](super::TrainSettings), or the settings file.
        setting: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// The template set has no "no" templates, which the hand-crafted variant needs.
    #[error(
        "the objective `clipn-handcrafted` needs pairs of `yes` and `no` templates; \
         the template set `{set}` has no `no` lines"
    )]
    NoNoTemplates {
        /// Name of the template set.
        set: String,
    },
    /// A tower rejected its input, or the model config is invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The objective rejected its settings or its input.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// The optimizer rejected its settings or its input.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// An operation over all ranks failed.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
    /// The learning-rate schedule is invalid.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The training data cannot be read or used.
    #[error(transparent)]
    Data(#[from] TrainingDataError),
    /// A training checkpoint cannot be written or read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A weights file cannot be read, or a tensor cannot be stored.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A feature cache cannot be opened or written.
    #[error(transparent)]
    FeatureCache(#[from] FeatureCacheError),
    /// The training log cannot be written.
    #[error(transparent)]
    Log(#[from] TrainingLogError),
    /// The templates cannot be loaded.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The token ids do not form rows.
    #[error(transparent)]
    Tokens(#[from] clipn_text::tokenizer::TokenizerError),
    /// A part of a checkpoint's state cannot be encoded or decoded.
    #[error("invalid {what} in the checkpoint state")]
    Resume {
        /// Part of the state: `position`, `model` or `settings`.
        what: &'static str,
        /// JSON error.
        source: serde_json::Error,
    },
}
