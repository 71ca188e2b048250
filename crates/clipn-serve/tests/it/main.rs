//! Integration tests of `clipn-serve`, one module a capability.
#![allow(clippy::unwrap_used)]

mod bundles;
mod classify;
mod common;
mod documents;
mod echo;
mod faults;
mod keys;
mod limits;
mod page;
mod pressure;
mod slow_clients;
mod snapshots;
