use thiserror::Error;

use crate::communicator::CommunicatorError;

/// Error of an objective: invalid settings, inputs that do not match, or a loss that is not finite.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// No objective has this name.
    #[error("unknown objective `{name}`; expected one of: clipn, clipn-handcrafted, clip")]
    UnknownObjective {
        /// The given name.
        name: String,
    },
    /// No form of TSO has this name.
    #[error("unknown form of TSO `{name}`; expected l2 or cosine")]
    UnknownTsoForm {
        /// The given name.
        name: String,
    },
    /// A weight is infinite or NaN.
    #[error("{what}: expected a finite number, got {value}")]
    InvalidWeight {
        /// Which weight.
        what: &'static str,
        /// The rejected value.
        value: f64,
    },
    /// The factor of the "no" logits is not positive and finite.
    #[error("factor of the \"no\" logits: expected a positive number, got {value}")]
    InvalidNoScale {
        /// The rejected value.
        value: f64,
    },
    /// Features are not `[N, D]` with the same N.
    #[error("`{what}` features: expected {expected}, got {length} values")]
    Shape {
        /// Which features: `image`, `yes`, `no` or `outlier`.
        what: &'static str,
        /// Number of values.
        length: usize,
        /// Expected number of values.
        expected: String,
    },
    /// The objective needs "no" features and got none.
    #[error("the objective `{objective}` needs features of the \"no\" tower, got none")]
    MissingNoFeatures {
        /// Name of the objective.
        objective: &'static str,
    },
    /// The objective needs features of outliers and got none.
    #[error(
        "the objective `{objective}` with a weight of outliers needs features of outliers, got none"
    )]
    MissingOutliers {
        /// Name of the objective.
        objective: &'static str,
    },
    /// The batch has fewer than two pairs. The published L_no divides by N² − N.
    #[error(
        "expected at least 2 pairs in the batch over all ranks for a contrastive loss, got {rows}"
    )]
    BatchTooSmall {
        /// Number of pairs over all ranks.
        rows: usize,
    },
    /// The rows of the requested gradient exceed the batch.
    #[error("gradient rows {start}..{end} are out of range for a batch of {rows} rows")]
    RowsOutOfRange {
        /// First requested row.
        start: usize,
        /// One past the last requested row.
        end: usize,
        /// Number of rows in the batch.
        rows: usize,
    },
    /// An input or a product is NaN or infinite.
    #[error("loss is not finite: {what}")]
    NotFinite {
        /// Location of the first such value.
        what: String,
    },
    /// A collective operation failed.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
}
