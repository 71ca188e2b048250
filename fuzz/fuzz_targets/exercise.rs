//! What every target of weights does with its bytes.

#[path = "support/memory.rs"]
mod memory;

use std::path::Path;

use clipn::checkpoint::Checkpoint;

/// What opening a file may take beside twice its size.
const OPENING: usize = 16 << 20;

/// Reads a file and everything in it.
pub fn exercise(bytes: Vec<u8>) {
    let limit = 2 * bytes.len() + OPENING;
    let Ok(checkpoint) = memory::within(limit, || Checkpoint::from_bytes(Path::new("fuzz"), bytes))
    else {
        return;
    };
    for (_, tensor) in checkpoint.iter() {
        let numbers = memory::within(4 * tensor.len() + 4096, || tensor.to_f32());
        assert_eq!(numbers.len(), tensor.len());
        assert_eq!(tensor.bytes().len(), tensor.len() * tensor.dtype().size());
    }
}
