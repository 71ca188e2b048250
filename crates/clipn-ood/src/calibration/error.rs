use thiserror::Error;

use crate::metrics::MetricError;

/// Why there is no threshold.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// A setting that is no share.
    #[error("the {what} lies between 0 and 1, without them, not {value}: give 0.95, say")]
    Share {
        /// Which one.
        what: &'static str,
        /// The value given.
        value: f64,
    },
    /// Fewer pictures than any threshold needs.
    #[error(
        "{n} pictures are too few to keep {percent} % of all: it takes {needed} at least, and some hundreds to know the \
         threshold well; add pictures of the classes, or keep less",
        percent = round(100.0 * target_tpr)
    )]
    TooFew {
        /// Pictures there are.
        n: usize,
        /// The share to keep.
        target_tpr: f64,
        /// Pictures that are needed.
        needed: usize,
    },
    /// The best threshold needs both kinds of pictures.
    #[error(
        "the best threshold is one between two kinds of pictures: give examples of the unknown too"
    )]
    NoUnknown,
    /// Scores that cannot be ranked.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A stored calibration does not hold together.
    #[error("the stored calibration is damaged: {reason}; calibrate again")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
}

/// At most three decimals, without zeros at the end.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
