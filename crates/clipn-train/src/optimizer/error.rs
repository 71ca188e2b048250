use thiserror::Error;

/// Why a step was refused. Nothing has changed then: neither parameters nor moments.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// A setting out of its range.
    #[error("AdamW's {what} is {value}; give {range}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// Values, gradient or moments that do not fit a parameter's shape.
    #[error("parameter {name} of shape {shape:?} was given {found}; give {expected}")]
    Shape {
        /// The parameter.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What came.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// Rows of a gradient that are unsorted, repeated or outside the table.
    #[error(
        "parameter {name} of shape {shape:?} was given gradient rows where {what}; give each row of the table at \
         most once, in ascending order"
    )]
    Rows {
        /// The parameter.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What is wrong with them.
        what: String,
    },
    /// A name that stands twice in one step, or twice among restored moments.
    #[error("parameter {name} stands twice; give each parameter once")]
    Twice {
        /// The parameter.
        name: String,
    },
    /// A gradient that is NaN or infinite, found where the norm is taken.
    #[error(
        "the gradient of parameter {name} is not finite; lower the learning rate or look for damaged inputs"
    )]
    NotFinite {
        /// The first such parameter.
        name: String,
    },
}
