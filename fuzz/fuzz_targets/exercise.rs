//! What every target does with its bytes.

use std::path::Path;

use clipn::checkpoint::Checkpoint;

/// Reads a file and everything in it.
pub fn exercise(bytes: Vec<u8>) {
    let Ok(checkpoint) = Checkpoint::from_bytes(Path::new("fuzz"), bytes) else { return };
    for (_, tensor) in checkpoint.iter() {
        assert_eq!(tensor.to_f32().len(), tensor.len());
        assert_eq!(tensor.bytes().len(), tensor.len() * tensor.dtype().size());
    }
}
