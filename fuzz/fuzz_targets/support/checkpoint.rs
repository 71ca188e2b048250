//! Shared by all targets that read weights.

#[path = "memory.rs"]
mod memory;

use clipn_checkpoint::Checkpoint;

/// Maximum memory in bytes for opening a file, in addition to twice its size.
const FIXED_MEMORY: usize = 16 << 20;

/// Reads a weights file with all its tensors within the memory limits.
pub fn read_all_tensors(bytes: Vec<u8>) {
    let limit = 2 * bytes.len() + FIXED_MEMORY;
    let Ok(checkpoint) =
        memory::within_memory_limit(limit, || Checkpoint::from_bytes("fuzz", bytes))
    else {
        return;
    };
    for (_, tensor) in checkpoint.iter() {
        let numbers = memory::within_memory_limit(4 * tensor.len() + 4096, || tensor.to_f32());
        assert_eq!(numbers.len(), tensor.len());
        assert_eq!(tensor.bytes().len(), tensor.len() * tensor.dtype().size());
    }
}
