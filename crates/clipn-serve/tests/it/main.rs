//! Integration tests of `clipn-serve`, one module a capability.
#![allow(clippy::unwrap_used)]

mod classify;
mod common;
mod documents;
mod faults;
mod keys;
mod limits;
mod page;
mod pressure;
mod snapshots;
