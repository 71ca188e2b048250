//! Training of CLIP and of CLIPN's "no" tower on image–caption pairs: the published losses, AdamW,
//! data parallelism, and runs that resume exactly.
//!
//! ```text
//! captions ─► texts ─► "yes" tower (frozen: feature cache) ─┐
//!                  └─► "no" tower (trained) ────────────────┼─► objective ─► gradients ─► AdamW
//! images ───────────► image tower (frozen: feature cache) ──┘
//! ```
//!
//! | part | items |
//! |---|---|
//! | losses over features `[N, D]` | [`Objective`], [`Clipn`], [`Clip`], [`ObjectiveSettings`] |
//! | optimizer over named slices | [`AdamW`], [`Schedule`], [`global_norm`] |
//! | data parallelism | [`Communicator`], [`SingleProcess`], [`InProcess`], [`evaluate_over_ranks`] |
//! | checkpoints that survive a kill | [`CheckpointStore`], [`TrainingCheckpoint`], [`PublishedCheckpoint`] |
//! | one step over towers | [`Trainer`], [`Towers`], [`MicroBatch`]; on a GPU [`Learner`] |
//! | whole runs | [`TrainRun`], [`TrainSettings`], [`RunObserver`], [`training_log`] |
//!
//! The first four know no tower and no data: they take features and named slices. A [`Trainer`] trains
//! towers of the host, or, with a [`Learner`], towers whose parameters stay on a GPU.
//!
//! # Examples
//!
//! A whole run, with checkpoints and logs in a directory:
//!
//! ```no_run
//! use clipn_base::progress::NoProgress;
//! use clipn_train::{TrainRun, TrainSettings};
//!
//! let mut settings = TrainSettings::new("ViT-B-16", "cc3m-train-{000..575}.tar");
//! settings.pretrained = Some("vit_b16.pt".into());
//! let mut run = TrainRun::open(settings, "runs/clipn")?;
//! let outcome = run.run(&NoProgress)?;
//! println!("{} steps", outcome.step);
//! # Ok::<(), clipn_train::TrainingError>(())
//! ```
//!
//! A loss with its gradient, and an optimizer step:
//!
//! ```
//! use clipn_train::{
//!     AdamW, AdamWSettings, GradientMask, ObjectiveSettings, PairFeatures, ParameterGradient,
//!     ParameterUpdate,
//! };
//!
//! // Two images with their "yes" texts; the "no" texts are still copies of the "yes" texts.
//! let image = [1.0, 0.0, 0.0, 1.0];
//! let yes = image;
//! let mut no = yes;
//!
//! let objective = ObjectiveSettings::default().build::<f32>()?;
//! let mut optimizer = AdamW::<f32>::new(AdamWSettings::default())?;
//! let mut losses = Vec::new();
//! for _ in 0..5 {
//!     let features = PairFeatures { dim: 2, image: &image, yes: &yes, no: Some(&no), outliers: &[] };
//!     let result = objective.evaluate(&features, 14.3, &GradientMask::no_only(2))?;
//!     losses.push(result.total);
//!     let gradient = result.gradients.no.unwrap_or_default();
//!     let update = ParameterUpdate {
//!         name: "no",
//!         shape: &[2, 2],
//!         values: &mut no,
//!         gradient: ParameterGradient::Dense(&gradient),
//!     };
//!     optimizer.step(0.05, [update])?;
//! }
//! assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
//! # Ok::<(), clipn_train::TrainingError>(())
//! ```
//!
//! The feature `parquet` reads training data from Parquet files. Results do not depend on the number of threads.

pub mod training_log;

mod communicator;
mod error;
mod feature_cache;
mod learner;
mod objective;
mod optimizer;
mod run;
mod schedule;
mod setting_difference;
mod state;
mod towers;
mod trainer;

pub use communicator::{
    Collective, Communicator, CommunicatorError, Gathered, InProcess, Mpi, MpiAbi, MpiSettings,
    Reduction, SingleProcess, share,
};
pub use error::TrainingError;
pub use feature_cache::{Digest, FeatureCache, FeatureCacheError};
pub use learner::{DeviceLearner, FrozenImageTower, Learner, LearnerState, LearnerTape};
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
    DataSettings, DatasetKind, OpenLearner, RunBuilder, RunObserver, RunOutcome, RunStart,
    StepEvent, TrainRun, TrainSettings, UnseenWords,
};
pub use schedule::{Schedule, ScheduleError};
pub use setting_difference::SettingDifference;
pub use state::{
    CheckpointContents, CheckpointLabel, CheckpointStore, FileRecord, ParseLabelError,
    PublishedCheckpoint, RetentionPolicy, STATE_FORMAT_VERSION, SavedCheckpoint, StateError,
    TrainingCheckpoint, TrainingState,
};
pub use towers::{CpuImageTower, CpuTowers, FrozenResNet, Towers, TrainableGroup, TrainableTowers};
pub use trainer::{ImageInput, MicroBatch, NoTexts, StepReport, TextInput, Trainer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
