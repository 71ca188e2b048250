//! Scores that learn from the stream of images: the score of an image depends on the images before it,
//! on those of its batch, and on their mixture.
//!
//! | method | learns |
//! |---|---|
//! | [`AdaNeg`] | a memory of confident images beside the text of each class and negative |
//! | [`Tanl`] | which words of a large list are more active for unknown images than for known ones |
//!
//! Both have bounded memory. Neither is comparable with a static score without naming order, batch and
//! mixture: with few unknown images in the stream, the gain is small or negative. Settings and order of
//! operations are those of the authors' code, <https://github.com/YBZh/OpenOOD-VLM>, commit 804f3310.

mod adaneg;
mod memory;
mod products;
mod state;
mod tanl;
mod threshold;

pub use adaneg::{AdaNeg, AdaNegProxies, AdaNegSettings};
pub use products::{PlainProducts, RowProducts};
pub use state::{StreamTensor, StreamValues};
pub use tanl::{Tanl, TanlSettings, activation_aware_score};
pub use threshold::two_class_threshold;

use num_traits::Float;

/// Result of one image of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StreamScore {
    /// Score, from 0; higher means more in-distribution.
    pub score: f64,
    /// Score of the same method without memory.
    pub fixed: f64,
    /// Predicted class.
    pub class: usize,
}

/// Error of the settings or the input of a stream.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// There is nothing of a kind.
    #[error("expected at least one of {what}, got none")]
    Empty {
        /// Name of the values.
        what: &'static str,
    },
    /// Values do not have the shape that they should have.
    #[error("expected a multiple of {expected} values of {what}, got {got}")]
    Length {
        /// Name of the values.
        what: &'static str,
        /// Length of a row.
        expected: usize,
        /// Number of values.
        got: usize,
    },
    /// A value is not finite.
    #[error("row {row} of {what} is not finite")]
    NotFinite {
        /// Name of the values.
        what: &'static str,
        /// Index of the row.
        row: usize,
    },
    /// A setting is out of range.
    #[error("setting {key}: expected {expected}, got {got}")]
    Setting {
        /// Name of the setting.
        key: &'static str,
        /// Description of valid values.
        expected: &'static str,
        /// Invalid value.
        got: f64,
    },
    /// A part of a stored state is missing or does not belong to this stream.
    #[error("`{name}` of the stored state is missing, or is not that of this stream")]
    State {
        /// Name of the part.
        name: &'static str,
    },
    /// The groups of the negatives are no partition.
    #[error("expected group ends that ascend to {words} negatives")]
    Groups {
        /// Number of negatives.
        words: usize,
    },
}

/// Checks that values are whole rows of finite numbers, and returns the number of rows.
fn check_rows<T: Float>(
    values: &[T],
    width: usize,
    what: &'static str,
) -> Result<usize, StreamError> {
    if width == 0 || !values.len().is_multiple_of(width) {
        return Err(StreamError::Length {
            what,
            expected: width,
            got: values.len(),
        });
    }
    let rows = values.chunks_exact(width);
    match rows
        .clone()
        .position(|row| row.iter().any(|v| !v.is_finite()))
    {
        Some(row) => Err(StreamError::NotFinite { what, row }),
        None => Ok(rows.len()),
    }
}

/// Checks a setting from 0 to 1.
fn check_fraction(key: &'static str, value: f64) -> Result<(), StreamError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(StreamError::Setting {
        key,
        expected: "0 to 1",
        got: value,
    })
}
