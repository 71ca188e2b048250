//! PyTorch zip archives.
#![no_main]

#[path = "support/checkpoint.rs"]
mod checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checkpoint::read_all_tensors(bytes.to_vec()));
