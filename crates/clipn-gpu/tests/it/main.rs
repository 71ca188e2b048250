//! Towers on devices, compared with those of the published CLIPN code.
#![allow(clippy::unwrap_used)]

mod common;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "gpu")]
mod gpu;
mod host;
