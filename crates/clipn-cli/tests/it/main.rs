//! Integration tests of `clipn-cli`, one module a capability.
#![allow(clippy::unwrap_used)]

mod adapt;
mod archives;
mod at_once;
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
#[path = "../../src/world/mod.rs"]
mod world;

#[cfg(all(feature = "mini", feature = "serve"))]
mod completions;
mod containers;
mod control_characters;
mod convert;
#[cfg(all(unix, debug_assertions))]
mod crash_points;
mod damaged_weights;
mod data_forms;
mod determinism;
mod devices;
mod documentation;
#[cfg(feature = "download")]
mod download;
mod embed;
#[cfg(all(feature = "mini", feature = "serve"))]
mod errors;
mod eval;
#[cfg(feature = "mini")]
mod fitted;
mod forms;
#[cfg(all(feature = "mini", feature = "serve"))]
mod help;
mod inspect;
mod local;
#[cfg(feature = "mini")]
mod messages;
mod metrics;
#[cfg(feature = "mini")]
mod mini;
mod models;
#[cfg(feature = "mini")]
mod negatives;
mod openood;
mod output;
mod owners;
mod pixels;
mod precision;
mod recipe;
mod report_browser;
mod resnet;
mod results;
#[cfg(feature = "serve")]
mod serve;
#[cfg(all(feature = "mini", feature = "serve"))]
mod serve_bundles;
mod signals;
mod skipped_files;
mod streams;
mod train;
mod transformers5;
mod weights_forms;
#[cfg(not(feature = "mini"))]
mod without_mini;
mod wrong_use;
