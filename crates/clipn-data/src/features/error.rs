use std::io;
use std::path::PathBuf;

use clipn_base::content::ContentKind;
use clipn_checkpoint::CheckpointError;
use thiserror::Error;

/// Error of reading or writing a file of features. Rows are counted from 0, as NumPy does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file has no features `[N, D]`.
    #[error("cannot use the features in {}: {reason}", path.display())]
    Format {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is of another kind.
    #[error("expected {expected}, got {kind}: {}", path.display())]
    Kind {
        /// Path of the file.
        path: PathBuf,
        /// The kinds that can be read.
        expected: &'static str,
        /// Kind of the file.
        kind: ContentKind,
    },
    /// A safetensors or PyTorch file is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A row has no direction, or rows of another length are needed.
    #[error("row {row} of {} {problem}", path.display())]
    Row {
        /// Path of the file.
        path: PathBuf,
        /// Index of the first such row, from 0.
        row: usize,
        /// What is wrong with it, and with how many others.
        problem: String,
    },
    /// The rows have another length than those that they are used with.
    #[error("expected features of dimension {expected} in {}, got {found}", path.display())]
    Dimension {
        /// Path of the file.
        path: PathBuf,
        /// Dimension needed.
        expected: usize,
        /// Dimension of the file.
        found: usize,
    },
    /// There is not one key or label for each row.
    #[error("expected {rows} {what} in {}, one per row of features, got {found}", path.display())]
    Count {
        /// Path of the file of keys or labels.
        path: PathBuf,
        /// `keys` or `labels`.
        what: &'static str,
        /// Rows of features.
        rows: usize,
        /// Keys or labels.
        found: usize,
    },
    /// A file has no labels `[N]`.
    #[error("cannot use the labels in {}: {reason}", path.display())]
    Labels {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A label is no index or name of a class.
    #[error("{}, {location}: {reason}", path.display())]
    Label {
        /// Path of the file.
        path: PathBuf,
        /// The line of a text, from 1, or the index in an array, from 0.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// Parquet needs a feature of the crate.
    #[error("cannot read or write {}: this build has no Parquet support", path.display())]
    WithoutParquet {
        /// Path of the file.
        path: PathBuf,
    },
}

impl FeatureError {
    /// What a caller can do about the error, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path")
            }
            Self::Kind { kind, .. } => kind.advice(),
            Self::Row { .. } => Some("remove the row with its key and label, or compute it again"),
            Self::Dimension { .. } => Some("use features of one model"),
            Self::Checkpoint(error) => error.hint(),
            Self::WithoutParquet { .. } => {
                Some("use .npy or .safetensors, or enable the feature `parquet`")
            }
            _ => None,
        }
    }
}
