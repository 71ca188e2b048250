//! Integration tests of `clipn-hub`, one module a capability.
#![allow(clippy::unwrap_used)]

mod local_hub;
mod download;
mod download_cache;
mod download_faults;
mod download_hostile;
