//! Calibration of the threshold between known and unknown images, with statistical guarantees.
//!
//! [`calibrate`] chooses a threshold from the scores of in-distribution images, and optionally of
//! out-of-distribution images. The resulting [`Calibration`] also yields conformal p-values
//! ([`p_value`]), and [`benjamini_hochberg`] decides on many images at once. [`compare_scores`] selects
//! the score that separates both kinds of images best.
//!
//! ```
//! use clipn_ood::calibration::{CalibrationSettings, calibrate};
//!
//! // Scores of 100 images of the known classes, in the unit of `Score::stable`.
//! let scores: Vec<f64> = (0..100).map(|i| -f64::from(i) / 10.0).collect();
//! let calibration = calibrate(&scores, &[], &CalibrationSettings::default())?;
//! // At the default target of 95 %, the fifth lowest score is the threshold.
//! assert_eq!(calibration.threshold(), -9.5);
//! assert_eq!(calibration.kept().count, 96);
//! # Ok::<(), clipn_ood::calibration::CalibrationError>(())
//! ```

mod calibrate;
mod comparison;
mod conformal;
mod contamination;
mod error;
mod interval;
mod ood_performance;
mod settings;
mod threshold;
mod warning;

pub use calibrate::{Calibration, CalibrationMetadata, CalibrationSummary, calibrate};
pub use comparison::{
    ComparedScore, ComparisonSettings, ScoreColumn, ScoreComparison, compare_scores,
};
pub use conformal::{benjamini_hochberg, p_value};
pub use contamination::{CalibrationSample, check_calibration_set};
pub use error::CalibrationError;
pub use interval::{Proportion, kept_proportion};
pub use ood_performance::OodPerformance;
pub use settings::{CalibrationSettings, ThresholdMethod};
pub use threshold::{min_images, published_threshold};
pub use warning::CalibrationWarning;
