//! Integration tests of `clipn-data`, one module a capability.
#![allow(clippy::unwrap_used)]

mod archives;
mod benchmark;
mod captions;
mod damage;
mod directories;
mod image_sets;
mod labels;
mod loader;
mod loader_helpers;
#[cfg(feature = "parquet")]
mod parquet;
mod peers;
mod webdataset;
