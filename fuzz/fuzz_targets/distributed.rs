//! Directory of `torch.distributed.checkpoint`: the metadata, and the chunks of up to four ranks.
//!
//! The input has the files one after another, each after its length (4 bytes, little-endian).
#![no_main]

#[path = "support/memory.rs"]
mod memory;

use std::path::PathBuf;
use std::sync::OnceLock;

use clipn_checkpoint::Checkpoint;

/// Maximum memory in bytes for opening a directory, in addition to twice the size of its files.
const FIXED_MEMORY: usize = 16 << 20;

/// Creates the directory once.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let name = format!("clipn-fuzz-distributed-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("cannot create a directory for fuzzing");
        directory
    })
}

/// Names of the files, in the order of the input.
const FILES: [&str; 5] = [
    ".metadata",
    "__0_0.distcp",
    "__1_0.distcp",
    "__2_0.distcp",
    "__3_0.distcp",
];

/// Opens the directory with the files, and reads its tensors within the memory limits.
fn read(mut bytes: &[u8]) {
    let directory = directory();
    let limit = 2 * bytes.len() + FIXED_MEMORY;
    for name in FILES {
        // A new file each time: tensors of the last one may still be mapped.
        let _ = std::fs::remove_file(directory.join(name));
        let Some((len, rest)) = bytes.split_first_chunk::<4>() else {
            continue;
        };
        let len = (u32::from_le_bytes(*len) as usize).min(rest.len());
        let (file, rest) = rest.split_at(len);
        bytes = rest;
        if std::fs::write(directory.join(name), file).is_err() {
            return;
        }
    }
    let Ok(checkpoint) = memory::within_memory_limit(limit, || Checkpoint::open(directory)) else {
        return;
    };
    for (_, tensor) in checkpoint.iter() {
        let numbers = memory::within_memory_limit(4 * tensor.len() + 4096, || tensor.to_f32());
        assert_eq!(numbers.len(), tensor.len());
    }
}

libfuzzer_sys::fuzz_target!(
    init: { directory(); },
    |bytes: &[u8]| read(bytes)
);
