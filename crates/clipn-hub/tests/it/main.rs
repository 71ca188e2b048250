//! Integration tests of `clipn-hub`, one module a capability.
#![allow(clippy::unwrap_used)]

mod download;
mod download_cache;
mod download_faults;
mod download_hostile;
#[cfg(unix)]
mod download_links;
mod local_hub;
