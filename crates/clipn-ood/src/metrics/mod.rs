//! How well scores tell in-distribution (ID) images from out-of-distribution (OOD) ones: AUROC, AUPR, FPR at a TPR
//! with the field's three conventions, and ID accuracy. Scores are higher for ID. One sort, [`RankedScores`], serves
//! every figure: `O(n log n)` once, `O(n)` after it.
mod accuracy;
mod error;
mod fpr;
mod precision;
mod ranked;
mod roc;

pub use accuracy::accuracy;
pub use error::{MetricError, ScoreSet};
pub use fpr::FprConvention;
pub use ranked::RankedScores;
pub use roc::Roc;

/// Area under the ROC curve with ID as the positive class: the probability that an ID image scores above an OOD one,
/// ties counting one half (Mann-Whitney). `id` is `[N]`, `ood` is `[M]`.
///
/// # Errors
/// As [`RankedScores::new`].
pub fn auroc<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricError> {
    Ok(RankedScores::new(id, ood)?.auroc())
}

/// Average precision with ID as the positive class; see [`RankedScores::aupr_in`].
///
/// # Errors
/// As [`RankedScores::new`].
pub fn aupr_in<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricError> {
    Ok(RankedScores::new(id, ood)?.aupr_in())
}

/// Average precision with OOD as the positive class and negated scores; see [`RankedScores::aupr_out`].
///
/// # Errors
/// As [`RankedScores::new`].
pub fn aupr_out<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricError> {
    Ok(RankedScores::new(id, ood)?.aupr_out())
}

/// False positive rate at the true positive rate `tpr` (0.95 for FPR95); see [`FprConvention`].
///
/// # Errors
/// As [`RankedScores::new`], and [`MetricError::Level`] when `tpr` is not in `[0, 1]`.
pub fn fpr_at_tpr<T: Copy + Into<f64>>(
    id: &[T],
    ood: &[T],
    tpr: f64,
    convention: FprConvention,
) -> Result<f64, MetricError> {
    RankedScores::new(id, ood)?.fpr_at_tpr(tpr, convention)
}
