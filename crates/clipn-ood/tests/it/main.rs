//! Integration tests of `clipn-ood`, one module a capability.
#![allow(clippy::unwrap_used)]

mod calibration;
mod metrics;
mod scores;
