//! Metrics of OOD detection: AUROC, AUPR as average precision and by the trapezoidal rule, FPR at a TPR
//! in the field's three conventions and its range over ties, AURC, and ID accuracy.
//!
//! Scores are higher for in-distribution (ID) images than for out-of-distribution (OOD) images.
//! [`RankedScores`] sorts once in `O(n log n)`, after which every metric costs `O(n)`.
//!
//! ```
//! use clipn_ood::metrics::{FprConvention, RankedScores};
//!
//! let ranked = RankedScores::new(&[0.9, 0.8, 0.7, 0.4], &[0.5, 0.3, 0.2])?;
//! assert_eq!(ranked.auroc(), 11.0 / 12.0);
//! assert_eq!(ranked.fpr_at_tpr(0.95, FprConvention::Openood)?, 0.25);
//! # Ok::<(), clipn_ood::metrics::MetricError>(())
//! ```
mod accuracy;
mod counts;
mod error;
mod fpr;
mod precision_recall;
mod ranked;
mod resolution;
mod risk_coverage;
mod roc;
mod ties;

pub use accuracy::accuracy;
pub use error::{MetricError, ScoreSet};
pub use fpr::FprConvention;
pub use ranked::RankedScores;
pub use resolution::{CoarseCause, CoarseScores, MIN_LEVELS};
pub use risk_coverage::aurc;
pub use roc::Roc;

/// Computes the area under the ROC curve with ID as the positive class. It is the probability that
/// an ID image scores above an OOD image, with ties counted as one half (Mann-Whitney). `id` is
/// `[N]`, `ood` is `[M]`.
///
/// # Errors
/// Same as [`RankedScores::new`].
pub fn auroc<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricError> {
    Ok(RankedScores::new(id, ood)?.auroc())
}

/// Computes the average precision with ID as the positive class; see [`RankedScores::aupr_in`].
///
/// # Errors
/// Same as [`RankedScores::new`].
pub fn aupr_in<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricError> {
    Ok(RankedScores::new(id, ood)?.aupr_in())
}

/// Computes the average precision with OOD as the positive class and negated scores; see
/// [`RankedScores::aupr_out`].
///
/// # Errors
/// Same as [`RankedScores::new`].
pub fn aupr_out<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricError> {
    Ok(RankedScores::new(id, ood)?.aupr_out())
}

/// Computes the false positive rate at the true positive rate `tpr` (0.95 for FPR95); see
/// [`FprConvention`].
///
/// # Errors
/// Same as [`RankedScores::new`], and [`MetricError::InvalidTpr`] if `tpr` is not in `[0, 1]`.
pub fn fpr_at_tpr<T: Copy + Into<f64>>(
    id: &[T],
    ood: &[T],
    tpr: f64,
    convention: FprConvention,
) -> Result<f64, MetricError> {
    RankedScores::new(id, ood)?.fpr_at_tpr(tpr, convention)
}
