//! Training checkpoints: folders `step-N` and `epoch-N` with `model.safetensors` (open_clip's names),
//! `optimizer.safetensors` and `state.json`. A folder is written beside, synced and renamed, so that a kill or a full
//! disk at any instant leaves the last good one. [`Published`] reads the published code's `epoch_N.pt` instead.

mod error;
mod label;
mod load;
mod moments;
mod published;
mod record;
mod save;
mod store;

pub use error::StateError;
pub use label::Label;
pub use load::TrainingCheckpoint;
pub use published::Published;
pub use record::{FileRecord, STATE_FORMAT, TrainingState};
pub use save::Snapshot;
pub use store::{CheckpointStore, Retention, SavedCheckpoint};

/// The weights in a checkpoint's folder.
const MODEL_FILE: &str = "model.safetensors";
/// The moments.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Everything else.
const STATE_FILE: &str = "state.json";
