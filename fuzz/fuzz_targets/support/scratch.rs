//! A file of this process for what only reads from the disk.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Writes the bytes to a file of that name, always the same one.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("clipn-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder to fuzz in");
        folder
    });
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file to fuzz with");
    path
}
