use thiserror::Error;

use crate::metrics::MetricError;

/// Errors of calibration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// A setting is not between 0 and 1, exclusive.
    #[error("expected a {what} between 0 and 1, exclusive, got {value}")]
    Share {
        /// Name of the setting.
        what: &'static str,
        /// Invalid value.
        value: f64,
    },
    /// There are fewer images than the target requires.
    #[error(
        "expected at least {needed} images for a target of {percent} % kept, got {n}",
        percent = round(100.0 * target_tpr)
    )]
    TooFewImages {
        /// Number of images.
        n: usize,
        /// Target true positive rate, a fraction.
        target_tpr: f64,
        /// Minimum number of images.
        needed: usize,
    },
    /// [`Choice::Best`](super::Choice::Best) requires out-of-distribution scores.
    #[error("expected out-of-distribution scores for the best threshold, got none")]
    MissingOodScores,
    /// The scores cannot be ranked.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A stored calibration is inconsistent.
    #[error("the stored calibration is corrupt: {reason}")]
    Damaged {
        /// Inconsistency found.
        reason: String,
    },
}

/// Rounds to three decimals, so that `Display` prints at most three.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
