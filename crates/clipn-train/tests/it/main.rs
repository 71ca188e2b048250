//! Integration tests of `clipn-train`, one module a capability.
#![allow(clippy::unwrap_used)]

mod objectives;
mod optimizer;
mod training_log;
mod training_state;
mod training_steps;
