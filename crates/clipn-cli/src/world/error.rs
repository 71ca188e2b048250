use std::path::PathBuf;

use thiserror::Error;

/// Error of writing a demo world.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum DemoError {
    /// The output directory is not empty.
    #[error("output directory {} is not empty", path.display())]
    NotEmpty {
        /// Path of the directory.
        path: PathBuf,
    },
    /// A setting is out of range.
    #[error("{setting}: expected {least} to {most}, got {given}")]
    Setting {
        /// Description of the setting.
        setting: &'static str,
        /// Value of the setting.
        given: usize,
        /// Minimum value.
        least: usize,
        /// Maximum value.
        most: usize,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Writing was canceled.
    #[error("interrupted; the demo world in {} is incomplete", path.display())]
    Cancelled {
        /// Directory of the world.
        path: PathBuf,
    },
}
