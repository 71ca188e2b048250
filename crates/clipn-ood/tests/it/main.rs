//! Integration tests of `clipn-ood`, one module a capability.
#![allow(clippy::unwrap_used)]

mod authors;
mod calibration;
mod case;
mod definitions;
mod fitted;
mod metrics;
mod packages;
mod real_features;
mod scores;
mod speed;
mod streams;
mod tensors;
