//! AdamW as PyTorch computes it, over named slices: one pass over memory, on all threads.
//!
//! A token table, of which a batch touches few rows, takes a gradient of rows ([`ParameterGradient::Rows`]),
//! with the same bits as the dense form.

mod adamw;
mod error;
mod moments;
mod norm;
mod update;

pub use adamw::{AdamW, AdamWSettings, has_weight_decay};
pub use error::OptimizerError;
pub use moments::Moments;
pub use norm::global_norm;
pub use update::{ParameterGradient, ParameterUpdate};
