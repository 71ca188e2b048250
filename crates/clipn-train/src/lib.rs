pub mod training_log;

mod communicator;
mod error;
mod feature_cache;
mod objective;
mod optimizer;
mod run;
mod schedule;
mod state;
mod towers;
mod trainer;

pub use communicator::{
    Collective, Communicator, CommunicatorError, Gathered, InProcess, SingleProcess,
};
pub use error::TrainingError;
pub use feature_cache::{Digest, FeatureCache, FeatureCacheError};
pub use objective::{
    Clip, Clipn, FeatureGradients, GradientMask, GradientScaling, LossAndGradients, LossWeights,
    MAX_LOGIT_SCALE, Objective, ObjectiveError, ObjectiveName, ObjectiveSettings, PairFeatures,
    TsoForm, clamp_logit_scale, evaluate_over_ranks,
};
pub use optimizer::{
    AdamW, AdamWSettings, Moments, OptimizerError, ParameterGradient, ParameterUpdate, global_norm,
    has_weight_decay,
};
pub use run::{
    DataSettings, DatasetKind, RunBuilder, RunObserver, RunOutcome, RunStart, StepEvent, TrainRun,
    TrainSettings,
};
pub use schedule::{Schedule, ScheduleError};
pub use state::{
    CheckpointContents, CheckpointLabel, CheckpointStore, FileRecord, ParseLabelError,
    PublishedCheckpoint, RetentionPolicy, STATE_FORMAT_VERSION, SavedCheckpoint, StateError,
    TrainingCheckpoint, TrainingState,
};
pub use towers::{CpuImageTower, CpuTowers, FrozenResNet, Towers, TrainableGroup, TrainableTowers};
pub use trainer::{ImageInput, MicroBatch, NoTexts, StepReport, TextInput, Trainer};
