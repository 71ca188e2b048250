//! Integration tests of `clipn-data`, one module a capability.
#![allow(clippy::unwrap_used)]

mod captions;
mod dataset;
mod webdataset;
