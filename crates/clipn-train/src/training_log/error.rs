use std::path::PathBuf;

use thiserror::Error;

/// Why a training log cannot be written or taken up again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingLogError {
    /// The file or its folder cannot be made or opened.
    #[error("cannot open {} for the training log: {source}; check the folder and its permissions", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write the training log {}: {source}; check that the disk is not full", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Reading failed.
    #[error("cannot read the training log {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A new run would write into the log of another.
    #[error(
        "{} is the log of another run; resume that run, or give this one another name or folder",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A line before the resumed step is no record.
    #[error(
        "{} line {line} is not a record of a training log: {problem}; remove the line, or move the file away",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}
