//! Integration tests of `clipn-eval`, one module a capability.
#![allow(clippy::unwrap_used)]

mod evaluator;
mod report;
mod results;
mod score_files;
mod streams;
