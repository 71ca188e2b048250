//! Temporary files of this process, for readers that take a path.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Writes the bytes to a temporary file called `name`, the same file at each call.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("clipn-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cannot create a directory for fuzzing");
        folder
    });
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("cannot write a file for fuzzing");
    path
}
