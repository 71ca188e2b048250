//! Paths of test data: small files in `fixtures`, photos and large files in the optional
//! directory `CLIPN_TEST_DATA` (default: `../shared` next to the repository).
#![allow(clippy::unwrap_used, missing_debug_implementations, missing_docs)]

pub mod condition;
pub mod distributed;
pub mod figures;
pub mod hub;
pub mod levels;
pub mod mpi;
pub mod random;
pub mod shards;
pub mod torch_file;
pub mod transformers;
pub mod wordnet;

use std::path::{Path, PathBuf};

/// Path of a file in `fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

/// Path of a file or directory of the optional test data. If it does not exist, prints the reason
/// and returns `None`.
pub fn test_data(path: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("CLIPN_TEST_DATA") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let full = root.join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!(
        "skipped: {} does not exist; set CLIPN_TEST_DATA to the directory that contains {path}",
        full.display()
    );
    None
}
