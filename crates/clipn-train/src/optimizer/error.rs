use std::ops::Range;

use thiserror::Error;

/// Error of an optimizer. Neither parameters nor moments have changed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// A setting is out of range.
    #[error("AdamW's {what}: expected {range}, got {value}")]
    InvalidSetting {
        /// Name of the setting.
        what: &'static str,
        /// The rejected value.
        value: f64,
        /// Valid range, in words.
        range: &'static str,
    },
    /// Values, gradient or moments do not match the parameter's shape.
    #[error("parameter {name} of shape {shape:?}: expected {expected}, got {found}")]
    Shape {
        /// Name of the parameter.
        name: String,
        /// Shape of the parameter.
        shape: Vec<usize>,
        /// The mismatched input.
        found: String,
        /// The expected input.
        expected: String,
    },
    /// Row ids of a gradient are unsorted, repeated or out of range.
    #[error(
        "parameter {name} of shape {shape:?}: gradient rows must be unique, ascending and within \
         the table, but {what}"
    )]
    InvalidRows {
        /// Name of the parameter.
        name: String,
        /// Shape of the parameter.
        shape: Vec<usize>,
        /// The offending rows.
        what: String,
    },
    /// Ranges of a gradient in parts overlap, descend or are outside of the parameter.
    #[error(
        "parameter {name}: expected ranges of its gradient between {lowest} and {length}, got {range:?}"
    )]
    InvalidRange {
        /// Name of the parameter.
        name: String,
        /// The first invalid range.
        range: Range<usize>,
        /// End of the range before it.
        lowest: usize,
        /// Number of values of the parameter.
        length: usize,
    },
    /// Gradients are clipped by a norm that a gradient in parts does not have.
    #[error("parameter {name}: a gradient in parts has no norm to clip by")]
    NormOfParts {
        /// Name of the first such parameter.
        name: String,
    },
    /// A parameter is duplicated in one step, or among restored moments.
    #[error("duplicate parameter {name}")]
    DuplicateParameter {
        /// Name of the parameter.
        name: String,
    },
    /// A gradient is NaN or infinite. Only the computation of the norm detects this.
    #[error("gradient of parameter {name} is not finite")]
    NotFinite {
        /// Name of the first such parameter.
        name: String,
    },
}
