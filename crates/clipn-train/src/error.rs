use thiserror::Error;

use super::{
    CommunicatorError, FeatureCacheError, ObjectiveError, OptimizerError, ScheduleError, StateError,
};
use clipn_checkpoint::CheckpointError;
use clipn_data::TrainingDataError;
use clipn_model::ModelError;
use clipn_text::prompts::PromptError;
use crate::training_log::TrainingLogError;

/// What can end a training run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The objective needs a tower that is not there.
    #[error(
        "the objective `{objective}` teaches a \"no\" tower, and there is none; load the weights with one"
    )]
    NoTower {
        /// The objective.
        objective: &'static str,
    },
    /// A tower that learns was given features instead of what it reads.
    #[error("features of a tower that learns cannot be known beforehand; give its pixels or texts")]
    KnownFeatures,
    /// A setting that makes no sense.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting, as its flag is called.
        setting: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The hand-crafted variant needs templates in pairs.
    #[error(
        "the objective `clipn-handcrafted` needs templates with `yes` and `no` lines, and the set `{set}` has no `no` \
         lines; use the set `clipn`"
    )]
    NoNoTemplates {
        /// The set.
        set: String,
    },
    /// A tower refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The objective refused its input.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// The optimizer refused its input.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// Another rank is gone.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
    /// The learning rate makes no sense.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] TrainingDataError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A weights file cannot be read, or tensors cannot be stored.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Features cannot be kept.
    #[error(transparent)]
    FeatureCache(#[from] FeatureCacheError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] TrainingLogError),
    /// Templates cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// Token ids that do not form rows.
    #[error(transparent)]
    Tokens(#[from] clipn_text::tokenizer::TokenizerError),
    /// The state of a checkpoint cannot be understood.
    #[error(
        "the checkpoint's {what} cannot be read: {source}; resume with the version of clipn that wrote it"
    )]
    Resume {
        /// Which part.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}
