//! The commands, one module each: arguments, and `run`.

pub mod bench;
pub mod calibrate;
pub mod classifier;
pub mod classify;
pub mod convert;
pub mod demo;
pub mod eval;
pub mod inspect;
pub mod models;
pub mod recipe;
pub mod results;
#[cfg(feature = "serve")]
pub mod serve;
pub mod train;
