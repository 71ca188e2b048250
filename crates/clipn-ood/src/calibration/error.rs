use clipn_base::count::count;
use thiserror::Error;

use crate::metrics::{MetricError, ScoreSet};

/// Errors of calibration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// A setting is not between 0 and 1, exclusive.
    #[error("expected a {setting} between 0 and 1, exclusive, got {value}")]
    OutOfRange {
        /// Name of the setting.
        setting: &'static str,
        /// Invalid value.
        value: f64,
    },
    /// There are fewer images than the target requires.
    #[error(
        "expected at least {} for a target of {percent} % kept, got {images}",
        count(*.required, "image"),
        percent = round_to_3_decimals(100.0 * target_tpr)
    )]
    TooFewImages {
        /// Number of images.
        images: usize,
        /// Target true positive rate, a fraction.
        target_tpr: f64,
        /// Minimum number of images.
        required: usize,
    },
    /// [`ThresholdMethod::Best`](super::ThresholdMethod::Best) requires out-of-distribution scores.
    #[error("expected out-of-distribution scores for the best threshold, got none")]
    MissingOodScores,
    /// There are fewer images of a set than a comparison of scores requires.
    #[error("expected at least {required} {set} images to compare scores, got {images}")]
    TooFewImagesToCompare {
        /// Set with too few images.
        set: ScoreSet,
        /// Number of images.
        images: usize,
        /// Minimum number of images.
        required: usize,
    },
    /// Cross-validation needs at least two folds.
    #[error("expected at least 2 folds, got {folds}")]
    TooFewFolds {
        /// Number of folds.
        folds: usize,
    },
    /// There is no score to compare.
    #[error("expected at least one score to compare, got none")]
    NoScores,
    /// Compared scores have values of different numbers of images.
    #[error("expected {expected} {set} values of the score `{score}`, got {got}")]
    ColumnLength {
        /// Name of the score.
        score: String,
        /// Set of the images.
        set: ScoreSet,
        /// Number of images of the first score.
        expected: usize,
        /// Number of images of this score.
        got: usize,
    },
    /// No [`ThresholdMethod`](super::ThresholdMethod) has this name.
    #[error("unknown threshold method `{name}`; expected one of on-average, guaranteed, best")]
    UnknownMethod {
        /// Unknown name.
        name: String,
    },
    /// The scores cannot be ranked.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A stored calibration is inconsistent.
    #[error("the stored calibration is corrupt: {reason}")]
    Corrupt {
        /// Inconsistency found.
        reason: String,
    },
}

impl CalibrationError {
    /// Advice for the caller, if there is any beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooFewImages { .. } => Some(
                "add images of the known classes (several hundred for a precise threshold), or \
                 lower the target",
            ),
            Self::TooFewImagesToCompare { .. } => {
                Some("add images, lower the target, or choose a score without a comparison")
            }
            Self::TooFewFolds { .. } => Some("pass 5 folds"),
            Self::NoScores => Some("pass a score whose values are finite"),
            Self::ColumnLength { .. } => Some("pass the values of the same images for every score"),
            Self::MissingOodScores => Some(
                "pass scores of out-of-distribution images, or choose another threshold method",
            ),
            Self::Corrupt { .. } => Some("calibrate again"),
            Self::OutOfRange { .. } => Some("pass a fraction such as 0.95"),
            Self::UnknownMethod { .. } | Self::Metric(_) => None,
        }
    }
}

/// Rounds to three decimals, so that `Display` prints at most three.
pub(super) fn round_to_3_decimals(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
