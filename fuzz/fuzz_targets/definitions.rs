//! Benchmark definitions and training settings (TOML).
#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/temp.rs"]
mod temp;

use clipn_data::Benchmark;
use clipn_train::TrainSettings;

/// Maximum memory per byte of input: TOML values with their positions.
const MEMORY_PER_BYTE: usize = 1024;

fn read(bytes: &[u8]) {
    if let Ok(settings) = TrainSettings::load(&temp::write_file("settings.toml", bytes)) {
        let _ = settings.check();
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(benchmark) = Benchmark::parse(text, "fuzz.toml") {
        let _ = benchmark.open(std::path::Path::new("/nowhere"));
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memory::within_memory_limit(
    MEMORY_PER_BYTE * bytes.len() + (1 << 20),
    || read(bytes)
));
