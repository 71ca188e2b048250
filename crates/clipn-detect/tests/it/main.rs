//! Integration tests of `clipn-detect`, one module a capability.
#![allow(clippy::unwrap_used)]

mod classifier;
mod detector;
mod fitting;
mod inference;
mod names;
mod negatives;
mod pipeline;
