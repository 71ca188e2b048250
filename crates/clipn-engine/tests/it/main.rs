//! Integration tests of `clipn-engine`, one module a capability.
#![allow(clippy::unwrap_used)]

mod convert;
mod damaged;
mod engine_random;
mod gradients;
mod gradients_random;
mod int8;
mod levels;
mod local;
mod pretrained;
mod resnet;
mod towers;
