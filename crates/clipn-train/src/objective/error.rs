use thiserror::Error;

use super::OBJECTIVES;
use crate::CommunicatorError;

/// Why an objective cannot be evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// A name that no objective has.
    #[error("there is no objective named `{name}`; known objectives: {}", OBJECTIVES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A weight or scale that is no finite number.
    #[error("the objective's {what} is {value}; give a finite number")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// Features that are no `[N, D]` of the same N.
    #[error("{what} features are {length} values; {expected}")]
    Shape {
        /// Which features: image, yes or no.
        what: &'static str,
        /// How many values there are.
        length: usize,
        /// What was expected.
        expected: String,
    },
    /// An objective that needs "no" features was given none.
    #[error("the objective `{objective}` needs features of the \"no\" tower; give them")]
    NoFeatures {
        /// The objective's name.
        objective: &'static str,
    },
    /// Fewer than two pairs.
    #[error(
        "the global batch holds {rows} pair(s), and contrast needs at least two (the published L_no divides by N²−N); \
         raise the batch size"
    )]
    BatchTooSmall {
        /// Pairs over all ranks.
        rows: usize,
    },
    /// The rows whose gradient is wanted reach beyond the batch.
    #[error(
        "gradients are wanted for rows {start}..{end} of a batch of {rows}; ask for rows inside it"
    )]
    Rows {
        /// First row wanted.
        start: usize,
        /// One past the last row wanted.
        end: usize,
        /// Rows of the batch.
        rows: usize,
    },
    /// Inputs or products that are NaN or infinite.
    #[error("the loss is not finite: {what}; lower the learning rate or look for damaged inputs")]
    NotFinite {
        /// Where the first such value is.
        what: String,
    },
    /// Another rank failed.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
}
