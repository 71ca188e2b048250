//! Integration tests of `clipn-detect`, one module a capability.
#![allow(clippy::unwrap_used)]

mod adaptation;
mod classifier;
mod detector;
mod fitting;
mod inference;
mod names;
mod negatives;
mod pipeline;
