//! Responses of a model hub, names of weights, and environment variables.
#![no_main]

#[path = "support/memory.rs"]
mod memory;

use clipn_hub::{DownloadSettings, HubName, WeightsName, fuzzing};

/// Maximum memory per byte of input.
const MEMORY_PER_BYTE: usize = 256;

/// Environment variables set from the lines of the input.
const VARIABLES: [&str; 12] = [
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ASSETS_CACHE",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_HUB_DISABLE_SYMLINKS",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "NO_PROXY",
    "HOME",
];

fn read(bytes: &[u8]) {
    let names = ["hf-hub:a/b", "hf-hub:a/b/c/w.pt@main"]
        .map(|name| HubName::parse(name).expect("valid name"));
    for name in &names {
        fuzzing::plan(bytes, name);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = HubName::parse(&format!("{}{text}", HubName::PREFIX)) {
        assert_eq!(
            HubName::parse(&name.to_string()).expect("display output parses"),
            name
        );
    }
    let _ = WeightsName::parse(text, Some("ViT-B-16"));
    let mut lines = text.lines();
    let values: Vec<(&str, &str)> = VARIABLES
        .iter()
        .filter_map(|name| Some((*name, lines.next()?)))
        .collect();
    let get = |key: &str| {
        values
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.into())
    };
    let _ = DownloadSettings::from_lookup(&get);
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memory::within_memory_limit(
    MEMORY_PER_BYTE * bytes.len() + (1 << 20),
    || read(bytes)
));
