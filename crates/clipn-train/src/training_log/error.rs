use std::path::PathBuf;

use thiserror::Error;

/// Error of reading, writing or resuming a training log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingLogError {
    /// The file or its directory cannot be created or opened.
    #[error("cannot open {} for the training log", path.display())]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The log cannot be written, such as on a full disk.
    #[error("cannot write the training log {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The log cannot be read.
    #[error("cannot read the training log {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A new run would overwrite the log of another.
    #[error("{} is the log of another run", path.display())]
    AlreadyExists {
        /// Path of the file.
        path: PathBuf,
    },
    /// A line is not a valid record.
    #[error(
        "invalid record in the training log {}, line {line}: {problem}",
        path.display()
    )]
    InvalidRecord {
        /// Path of the file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// JSON error.
        problem: String,
    },
}
