//! Integration tests of `clipn`, one module a capability.
#![allow(clippy::unwrap_used)]

mod examples;
mod mini;
