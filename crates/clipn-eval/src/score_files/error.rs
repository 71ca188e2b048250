use std::path::PathBuf;

use thiserror::Error;

use clipn_base::content::ContentKind;
use clipn_ood::metrics::ScoreSet;

/// Error of reading scores from files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScoreFileError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A file is larger than the limit.
    #[error("{} has more than {limit} bytes, the limit of a file of scores", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// Maximum size in bytes.
        limit: u64,
    },
    /// A file is neither a table nor a NumPy array.
    #[error("expected a CSV table or a NumPy array (.npy), got {kind}: {}", path.display())]
    Kind {
        /// Path of the file.
        path: PathBuf,
        /// What the file is.
        kind: ContentKind,
    },
    /// A NumPy array is damaged, or not a list of numbers.
    #[error("cannot use the NumPy array {}: {reason}", path.display())]
    NumPy {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A table is damaged.
    #[error("cannot read the table {}: {reason}", path.display())]
    Table {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An array of scores without their sets was given where a table is needed.
    #[error("{} has scores, but not the sets that they belong to", path.display())]
    NoSets {
        /// Path of the file.
        path: PathBuf,
    },
    /// A table has no column of this name.
    #[error("{} has no column `{name}`; its columns are {}", path.display(), columns.join(", "))]
    UnknownColumn {
        /// Path of the file.
        path: PathBuf,
        /// Name that was requested.
        name: String,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// No column is known to contain scores.
    #[error(
        "no column of {} is known to contain scores; its columns are {}",
        path.display(), columns.join(", ")
    )]
    NoScoreColumn {
        /// Path of the file.
        path: PathBuf,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// No column is known to name the set of a row.
    #[error(
        "no column of {} is known to separate the sets; its columns are {}",
        path.display(), columns.join(", ")
    )]
    NoSetColumn {
        /// Path of the file.
        path: PathBuf,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// Two columns contradict each other.
    #[error(
        "line {line} of {} is in-distribution by one of the columns `{}` and `{}`, and not by the other",
        path.display(), columns[0], columns[1]
    )]
    Contradiction {
        /// Path of the file.
        path: PathBuf,
        /// Names of the columns.
        columns: [String; 2],
        /// Line of the first row that differs.
        line: u64,
    },
    /// The rows are decisions, which are no ground truth.
    #[error(
        "{} has decisions, but no column that says which images are in-distribution: `unknown` follows \
         from the score",
        path.display()
    )]
    Decisions {
        /// Path of the file.
        path: PathBuf,
    },
    /// The values of a column do not say which rows are in-distribution.
    #[error(
        "{} does not say which rows are in-distribution: its column `{column}` has {}",
        path.display(), listed(values)
    )]
    UnknownId {
        /// Path of the file.
        path: PathBuf,
        /// Column that separates the sets.
        column: String,
        /// Distinct values of the column, in order of first occurrence.
        values: Vec<String>,
    },
    /// No row has the value of in-distribution rows.
    #[error(
        "no row of {} is in-distribution: its column `{column}` has {} and not {value:?}",
        path.display(), listed(values)
    )]
    NoIdRows {
        /// Path of the file.
        path: PathBuf,
        /// Column that separates the sets.
        column: String,
        /// Requested value of in-distribution rows.
        value: String,
        /// Distinct values of the column, in order of first occurrence.
        values: Vec<String>,
    },
    /// A row has no usable value.
    #[error("line {line} of {}: column `{column}`: {reason}", path.display())]
    Cell {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1; the header counts.
        line: u64,
        /// Column of the value.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// A value of an array is NaN or infinite.
    #[error("expected finite scores, got {value} at index {index} of {}", path.display())]
    NotFinite {
        /// Path of the file.
        path: PathBuf,
        /// Index in the array, from 0.
        index: usize,
        /// NaN, infinity or minus infinity.
        value: f64,
    },
    /// The numbers of scores and labels differ.
    #[error("expected one label per score, got {labels} labels for {scores} scores")]
    LabelCount {
        /// Number of scores.
        scores: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A set has no scores.
    #[error("{} has no scores of the {set} set", path.display())]
    EmptySet {
        /// Path of the file.
        path: PathBuf,
        /// Empty set.
        set: ScoreSet,
    },
}

impl ScoreFileError {
    /// The error of a column whose values do not say which rows are in-distribution.
    pub(super) fn without_id(
        path: &std::path::Path,
        column: &str,
        id_value: Option<&str>,
        values: &indexmap::IndexSet<String>,
    ) -> Self {
        let (path, column) = (path.to_owned(), column.to_owned());
        let values = values.iter().cloned().collect();
        match id_value {
            Some(value) => Self::NoIdRows {
                path,
                column,
                value: value.to_owned(),
                values,
            },
            None => Self::UnknownId {
                path,
                column,
                values,
            },
        }
    }

    /// Advice for the caller: what to change or to try next; `None` if the message says it all.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Self::Kind { kind, .. } => return kind.advice(),
            Self::NoSets { .. } => "give the labels too, or each set as a list of its own",
            Self::NoScoreColumn { .. } => "name the columns in `score_columns`",
            Self::NoSetColumn { .. } => "name the column in `set_column`",
            Self::Contradiction { .. } => "name the column with the truth in `set_column`",
            Self::Decisions { .. } => {
                "add a column `is_ood` with the truth, or give each set as a list of its own"
            }
            Self::NoIdRows { .. } => "check `id_value`",
            Self::UnknownId { .. } => "give the value of in-distribution rows in `id_value`",
            Self::NotFinite { .. } => "check what computed the score",
            _ => return None,
        };
        Some(hint)
    }
}

/// Lists values for a message, at most eight of them.
fn listed(values: &[String]) -> String {
    const MAX_LISTED: usize = 8;
    let shown: Vec<String> = values
        .iter()
        .take(MAX_LISTED)
        .map(|v| format!("{v:?}"))
        .collect();
    let more = match values.len().saturating_sub(MAX_LISTED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("{}{more}", shown.join(", "))
}
