#![no_main]

#[path = "support/memory.rs"]
mod memory;

use std::path::Path;

use clipn::bundle::Bundle;

/// What opening may take beside twice the file, and of a byte of it: names, scores and templates are JSON.
const OPENING: usize = 16 << 20;
const OF_BYTE: usize = 64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limit = OF_BYTE * bytes.len() + OPENING;
    let opened = memory::within(limit, || {
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
