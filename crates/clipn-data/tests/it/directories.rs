//! Directories of empty files.

use std::fs;
use std::path::Path;

use clipn_data::ImageSet;
use tempfile::TempDir;

/// Creates a directory with empty files at the given paths.
pub(crate) fn folder(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        touch(&root.path().join(file));
    }
    root
}

pub(crate) fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"").unwrap();
}

/// Joins the messages of an error and of its sources.
pub(crate) fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

pub(crate) fn paths(set: &ImageSet) -> Vec<String> {
    set.samples
        .iter()
        .map(|sample| set.relative(sample).display().to_string())
        .collect()
}
