//! Integration tests of `clipn-model`, one module a capability.
#![allow(clippy::unwrap_used)]

mod convert_output;
mod image_processor;
mod pretrained_hostile;
