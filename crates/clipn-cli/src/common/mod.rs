//! What several commands share: arguments, opening of models, errors, output.

pub mod args;
pub mod detector;
pub mod error;
pub mod interrupt;
pub mod model;
pub mod numbers;
pub mod progress;
pub mod table;
pub mod usage;
pub mod weights;
