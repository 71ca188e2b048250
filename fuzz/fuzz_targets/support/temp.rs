//! Temporary files of this process, for readers that take a path.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Writes the bytes to a temporary file called `name`, the same file at each call.
pub fn write_file(name: &str, bytes: &[u8]) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("clipn-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("cannot create a directory for fuzzing");
        directory
    });
    let path = directory.join(name);
    std::fs::write(&path, bytes).expect("cannot write a file for fuzzing");
    path
}
