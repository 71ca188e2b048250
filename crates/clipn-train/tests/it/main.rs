//! Integration tests of `clipn-train`, one module a capability.
#![allow(clippy::unwrap_used)]

mod learner;
mod mpi;
mod objectives;
mod optimizer;
mod published_checkpoint;
mod ranks;
mod run;
mod training_log;
mod training_state;
mod training_steps;
