//! AdamW as PyTorch computes it, over named slices: it reads and writes memory once, on all threads.
//!
//! A batch touches few rows of a token table. Its gradient is given by rows
//! ([`ParameterGradient::Rows`]), with the same bits as the dense form.

mod adamw;
mod error;
mod moments;
mod norm;
mod update;

pub(crate) use adamw::check_learning_rate;
pub use adamw::{AdamW, AdamWSettings};
pub use clipn_model::has_weight_decay;
pub use error::OptimizerError;
pub use moments::Moments;
pub use norm::global_norm;
pub use update::{ParameterGradient, ParameterUpdate};
