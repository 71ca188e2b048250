//! Integration tests of `clipn`, one module a capability.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "mini")]
mod mini;
