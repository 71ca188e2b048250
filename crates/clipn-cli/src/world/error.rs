use std::path::PathBuf;

use thiserror::Error;

/// Why a demo world cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The folder holds something already.
    #[error("{} is not empty; give the demo world a new folder, or empty this one", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A setting that no world can be made with.
    #[error("the demo world's {setting} is {given}, but must be from {least} to {most}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        given: usize,
        /// The least value.
        least: usize,
        /// The greatest value.
        most: usize,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}; check the folder's permissions and that the disk is not full", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The work was asked to stop.
    #[error("interrupted; {} is incomplete, remove it before another try", path.display())]
    Cancelled {
        /// The world's folder.
        path: PathBuf,
    },
}
