//! Training of CLIP and CLIPN: objectives over features and their gradients, AdamW, learning-rate
//! schedules, data-parallel ranks, exactly resumable randomness, and training checkpoints that
//! survive a kill at any instant.
//!
//! [`TrainRun`] ties these to data and CPU towers and runs a whole training. The other parts know
//! no tower: an [`Objective`] takes features `[N, D]`, and [`AdamW`] takes named slices.

mod communicator;
mod error;
mod feature_cache;
mod frozen;
mod image;
mod init;
mod objective;
mod optimizer;

mod run;
mod schedule;
mod settings;
mod state;
mod texts;
mod towers;
mod trainer;

pub use communicator::{
    Collective, Communicator, CommunicatorError, Gathered, InProcess, SingleProcess,
};
pub use error::TrainingError;
pub use feature_cache::{Digest, FeatureCache, FeatureCacheError};
pub use image::{CpuImageTower, FrozenResNet};
pub use objective::{
    Clip, Clipn, Features, GradientMask, GradientScaling, Gradients, LossWeights, MAX_LOGIT_SCALE,
    OBJECTIVE_NAMES, Objective, ObjectiveError, ObjectiveSettings, Outcome, Tso, Variant,
    clamp_logit_scale, evaluate_over_ranks,
};
pub use optimizer::{
    AdamW, AdamWSettings, Gradient, Moments, OptimizerError, Update, decays, global_norm,
};

pub use run::{Resume, RunObserver, RunOutcome, StepEvent, TrainRun};
pub use schedule::{Schedule, ScheduleError};
pub mod training_log;
pub use settings::{DataSettings, DatasetKind, TrainSettings};
pub use state::{
    CheckpointStore, FileRecord, Label, Published, Retention, STATE_FORMAT_VERSION,
    SavedCheckpoint, Snapshot, StateError, TrainingCheckpoint, TrainingState,
};
pub use towers::{CpuTowers, Towers, TrainableGroup, TrainableTowers};
pub use trainer::{ImageInput, MicroBatch, StepReport, TextInput, Trainer};

use clipn_base::simd::vectorized;
