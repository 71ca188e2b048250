//! Logs of a training run: `log.jsonl`, with one JSON object per line, and TensorBoard event files.
//!
//! Both are append-only, so that a kill at any instant loses at most the line being written. Both
//! can be resumed at the step of a checkpoint.

mod error;
mod events;
mod files;
mod frame;
mod jsonl;
mod proto;

pub use error::TrainingLogError;
pub use events::{EventFile, EventStream};
pub use files::TrainingLog;
pub use jsonl::{JsonLog, LogRecord, read_log};
