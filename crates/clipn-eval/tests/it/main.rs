//! Integration tests of `clipn-eval`, one module a capability.
#![allow(clippy::unwrap_used)]

mod report;
mod results;
