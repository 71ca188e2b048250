//! Bundles (`*.clipn` files).
#![no_main]

#[path = "support/memory.rs"]
mod memory;

use std::path::Path;

use clipn_detect::bundle::Bundle;

/// Maximum memory in bytes, independent of the size of the file.
const FIXED_MEMORY: usize = 16 << 20;

/// Maximum memory per byte of the file: names, scores and templates are JSON.
const MEMORY_PER_BYTE: usize = 64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limit = MEMORY_PER_BYTE * bytes.len() + FIXED_MEMORY;
    let opened = memory::within_memory_limit(limit, || {
        Bundle::from_bytes(Path::new("fuzz.clipn"), bytes.to_vec())
    });
    let Ok(bundle) = opened else { return };
    let classifier = bundle.classifier();
    assert_ne!(classifier.class_names().len(), 0);
    let _ = (
        bundle.identity(),
        bundle.preprocessing(),
        bundle.calibration().map(|c| c.p_value(0.5)),
    );
    let _ = bundle.image_weights();
});
