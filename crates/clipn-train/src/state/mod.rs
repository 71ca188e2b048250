//! Training checkpoints: directories `step-N` and `epoch-N` with `model.safetensors` (open_clip's
//! names), `optimizer.safetensors` and `state.json`.
//!
//! A checkpoint is written to a temporary directory, synced and renamed. A kill or a full disk at
//! any instant leaves the last complete one. [`PublishedCheckpoint`] reads the published code's `epoch_N.pt`
//! instead.

mod error;
mod label;
mod load;
mod moments;
mod published;
mod record;
mod save;
mod store;

pub use error::StateError;
pub use label::{CheckpointLabel, ParseLabelError};
pub use load::TrainingCheckpoint;
pub use published::PublishedCheckpoint;
pub use record::{FileRecord, STATE_FORMAT_VERSION, TrainingState};
pub use save::CheckpointContents;
pub use store::{CheckpointStore, RetentionPolicy, SavedCheckpoint};

/// File of the weights in a checkpoint's directory.
const MODEL_FILE: &str = "model.safetensors";
/// File of the optimizer's moments.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// File of everything else.
const STATE_FILE: &str = "state.json";
/// Suffix of a directory that is being written or deleted.
const PARTIAL_SUFFIX: &str = ".tmp";
/// Suffix of a complete checkpoint while another of the same label replaces it.
const REPLACED_SUFFIX: &str = ".replaced";
