use thiserror::Error;

use crate::metrics::MetricError;

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
        "expected at least {required} images for a target of {percent} % kept, got {images}",
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
