//! Where the tests find their figures: small ones in `fixtures`, photographs and large ones in the optional
//! folder named by `CLIPN_TEST_DATA` (default `../shared` beside the repository).
#![allow(clippy::unwrap_used, missing_docs)]

pub mod figures;
pub mod hub;
pub mod levels;
pub mod random;
pub mod shards;
pub mod torch_file;
pub mod transformers;

use std::path::{Path, PathBuf};

/// A file kept in the repository under `fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

/// A file or folder of the optional test data, or `None` with the reason printed.
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
        "skipped: {} is not there; point CLIPN_TEST_DATA at the folder that holds {path}",
        full.display()
    );
    None
}
