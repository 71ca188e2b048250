use std::error::Error;
use std::path::PathBuf;

use clipn_base::files::LockError;
use clipn_checkpoint::CheckpointError;
use clipn_data::TrainingDataError;
use clipn_gpu::DeviceError;
use clipn_model::ModelError;
use clipn_text::prompts::PromptError;
use clipn_text::tokenizer::TokenizerError;

use crate::communicator::CommunicatorError;
use crate::feature_cache::FeatureCacheError;
use crate::objective::{ObjectiveError, ObjectiveName};
use crate::optimizer::OptimizerError;
use crate::schedule::ScheduleError;
use crate::setting_difference::SettingDifference;
use crate::state::StateError;
use crate::training_log::TrainingLogError;

/// Error that ends a training run.
#[derive(Debug, thiserror::Error)]
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
    /// Another process trains in the run's directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// A setting is invalid.
    #[error("{setting}: {problem}")]
    InvalidSetting {
        /// Field of [`TrainSettings`](crate::TrainSettings).
        setting: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// A settings file cannot be read, or does not hold training settings.
    #[error("cannot read training settings from {}", path.display())]
    ReadSettings {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system, or the first error in the TOML.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The run's `settings.toml` cannot be written.
    #[error("cannot write training settings to {}", path.display())]
    WriteSettings {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system, or of encoding as TOML.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The checkpoint to resume from was trained with another objective.
    #[error(
        "objective: expected `{expected}`, the objective of the checkpoint {}, got `{found}`",
        path.display()
    )]
    ObjectiveMismatch {
        /// Directory of the checkpoint.
        path: PathBuf,
        /// Objective of the checkpoint.
        expected: ObjectiveName,
        /// Objective of the settings.
        found: ObjectiveName,
    },
    /// The checkpoint to resume from was trained with other settings.
    #[error(
        "the checkpoint {} was trained with other settings: {}",
        path.display(),
        differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    SettingsMismatch {
        /// Directory of the checkpoint.
        path: PathBuf,
        /// At least one setting.
        differences: Vec<SettingDifference>,
    },
    /// The template set has no "no" templates, which the objective `clipn-handcrafted` needs.
    #[error(
        "the objective `clipn-handcrafted` needs pairs of `yes` and `no` templates; \
         the template set `{set}` has no `no` lines"
    )]
    MissingNoTemplates {
        /// Name of the template set.
        set: String,
    },
    /// A tower rejected its input, or the model config is invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The towers cannot be moved to a device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The moments of parameters have different numbers of steps, which a device does not support.
    #[error("expected {expected} steps of the moments of {name} as of the others, got {found}")]
    StepsDiffer {
        /// Name of the first parameter that differs.
        name: String,
        /// Steps of the parameters before it.
        expected: u64,
        /// Steps of the parameter.
        found: u64,
    },
    /// A learner has other parameters than the trainer.
    #[error("the towers on {device} differ from those that are trained: {found}")]
    LearnerMismatch {
        /// Name of the learner's device.
        device: String,
        /// What the learner has otherwise.
        found: String,
    },
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
    Tokens(#[from] TokenizerError),
    /// Ranks differ in what must be the same on all.
    #[error("rank {rank} differs from rank 0: {what}")]
    RanksDiffer {
        /// The first rank that differs.
        rank: usize,
        /// The difference.
        what: String,
    },
    /// The mark of a finished run cannot be read or written.
    #[error("cannot access {}, the mark of a finished run", path.display())]
    FinishedMark {
        /// Path of the mark.
        path: PathBuf,
        /// Error of the operating system, or of its JSON.
        source: std::io::Error,
    },
    /// A run is marked as finished, but its last checkpoints are missing.
    #[error(
        "{} is finished after {step} steps, but the newest checkpoint has {newest}{}",
        path.display(),
        in_words(damaged)
    )]
    MissingLastCheckpoint {
        /// Directory of the run.
        path: PathBuf,
        /// Steps of the finished run.
        step: u64,
        /// Steps of the newest checkpoint.
        newest: u64,
        /// Newer checkpoints that are damaged.
        damaged: Vec<PathBuf>,
    },
    /// A part of a checkpoint's state cannot be encoded or decoded.
    #[error("invalid {part} in the checkpoint state")]
    StateJson {
        /// Part of the state: `position`, `model` or `settings`.
        part: &'static str,
        /// JSON error.
        source: serde_json::Error,
    },
}

impl TrainingError {
    /// Whether other settings are needed, rather than other files or another machine.
    pub fn is_of_settings(&self) -> bool {
        matches!(
            self,
            Self::InvalidSetting { .. }
                | Self::ObjectiveMismatch { .. }
                | Self::SettingsMismatch { .. }
                | Self::Schedule(_)
                | Self::Optimizer(OptimizerError::InvalidSetting { .. })
                | Self::Objective(
                    ObjectiveError::InvalidWeight { .. } | ObjectiveError::InvalidNoScale { .. }
                )
        )
    }

    /// Advice for the caller: what to change or to try next; `None` if the message says it all.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Self::MissingNoTower { .. } => "start from weights with a \"no\" tower",
            Self::Model(ModelError::NoPromptCount { .. }) => {
                "set `no_prompts` to the number in the weights, or start from a plain CLIP"
            }
            Self::Device(error) => return error.hint(),
            Self::StepsDiffer { .. } => "resume the run on the CPU",
            Self::ReadSettings { .. } => "use the settings.toml of a run's directory",
            Self::ObjectiveMismatch { .. } => {
                "resume with the checkpoint's objective, or start from its model.safetensors"
            }
            Self::SettingsMismatch { .. } => {
                "resume with the settings of the checkpoint, or allow others with \
                 `RunBuilder::with_changed_settings`"
            }
            Self::MissingNoTemplates { .. } => "use the template set `clipn`",
            Self::InvalidSetting { setting, .. } => match *setting {
                "pretrained" => "set `pretrained`, or train a CLIP with the objective `clip`",
                "accum_freq" => "lower `accum_freq` or `batch_size`",
                "cache_image_features" => {
                    "set `cache_image_features` to false, or train a \"no\" tower without \
                     augmentation"
                }
                _ => return None,
            },
            Self::Schedule(ScheduleError::WarmupTooLong { .. }) => "lower `warmup`",
            Self::Objective(ObjectiveError::NotFinite { .. })
            | Self::Optimizer(OptimizerError::NotFinite { .. }) => {
                "lower `lr`, or look for damaged inputs"
            }
            Self::Communicator(CommunicatorError::RankLost { .. }) => {
                "look for the error of that rank, then resume from the last checkpoint"
            }
            Self::Communicator(CommunicatorError::NoMpi { .. }) => {
                "install an MPI, or name its library in `MpiSettings::library`"
            }
            Self::Communicator(CommunicatorError::WorldMismatch { .. }) => {
                "start the program with the launcher of the MPI library that it loads"
            }
            Self::RanksDiffer { .. } => {
                "start every rank with the same program, settings and kind of processor"
            }
            Self::MissingLastCheckpoint { .. } => {
                "remove finished.json to train the missing steps again"
            }
            Self::FeatureCache(FeatureCacheError::InUse { .. }) => {
                "wait for the other run, or set another `feature_cache`"
            }
            Self::FeatureCache(FeatureCacheError::Mismatch { .. }) => {
                "remove the file, or set another `feature_cache`"
            }
            Self::State(StateError::NotACheckpoint { .. }) => {
                "resume from a step-N or epoch-N directory"
            }
            Self::State(
                StateError::InvalidState { .. }
                | StateError::Corrupt { .. }
                | StateError::MomentMismatch { .. },
            ) => "remove the directory, and resume from the checkpoint before it",
            Self::State(StateError::UnsupportedFormat { .. }) | Self::StateJson { .. } => {
                "resume with the version of clipn that wrote the checkpoint"
            }
            Self::Log(TrainingLogError::AlreadyExists { .. }) => {
                "resume that run, or use another directory"
            }
            _ => return None,
        };
        Some(hint)
    }
}

/// Names damaged checkpoints, after a message.
fn in_words(damaged: &[PathBuf]) -> String {
    let names = damaged.iter().filter_map(|path| path.file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; damaged: {}", names.join(", ")),
    }
}
