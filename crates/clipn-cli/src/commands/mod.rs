//! The commands, one module each: arguments, and `run`.

pub(crate) mod bench;
pub(crate) mod benchmark;
pub(crate) mod calibrate;
pub(crate) mod classifier;
pub(crate) mod classify;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod man;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod recipe;
pub(crate) mod results;
#[cfg(feature = "serve")]
pub(crate) mod serve;
pub(crate) mod train;
