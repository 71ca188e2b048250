//! Integration tests of `clipn-cli`, one module a capability.
#![allow(clippy::unwrap_used)]

mod bench;
mod classifier;
mod classify;
#[cfg(feature = "remote")]
mod classify_remote;
mod classify_resume;
mod classify_scale;
mod common;
/// The synthetic world of `clipn demo`, which some tests train on.
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/commands/demo/world/mod.rs"]
mod world;

mod convert;
mod documentation;
#[cfg(feature = "download")]
mod download;
mod eval;
mod inspect;
mod mini;
mod models;
mod recipe;
mod report_browser;
mod resnet;
mod results;
#[cfg(feature = "serve")]
mod serve;
mod train;
mod wrong_use;
