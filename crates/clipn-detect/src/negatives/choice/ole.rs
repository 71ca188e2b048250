use clipn_engine::PackedRows;
use clipn_model::Real;

use super::quantile::{quantile_of, similarity_quantiles};
use super::{check_quantile, check_rows};
use crate::negatives::NegativesError;

/// Outliers that OLE keeps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OleOutliers<T> {
    /// Indices of the outliers, ascending.
    pub indices: Vec<usize>,
    /// Greatest similarity to a class that none of them reaches.
    pub threshold: T,
}

/// Chooses outliers as OLE does: those whose greatest similarity to a class is below the `quantile` of the
/// greatest similarities of all candidates, with linear interpolation. OLE's quantile is 0.1, and its
/// candidates are 500 means of clustered nouns.
///
/// `candidates` `[N, D]` and `classes` `[K, D]` have rows of length 1. Source: Ding and Pang, "Zero-Shot
/// Out-of-Distribution Detection with Outlier Label Exposure", IJCNN 2024,
/// <https://arxiv.org/abs/2406.01170>.
///
/// ```
/// use clipn_detect::negatives::choice::ole_outliers;
///
/// let (class, words) = ([1.0, 0.0], [0.8, 0.6, 0.6, 0.8, 0.0, 1.0]);
/// let outliers = ole_outliers(&words, &class, 2, 0.5)?;
/// assert_eq!((outliers.indices, outliers.threshold), (vec![2], 0.6));
/// # Ok::<(), clipn_detect::negatives::NegativesError>(())
/// ```
///
/// # Errors
/// [`NegativesError::NoClasses`], [`NegativesError::InvalidShape`] for incomplete rows,
/// [`NegativesError::InvalidSetting`] for a quantile outside [0, 1], and
/// [`NegativesError::SimilarityNotFinite`] if a row is not finite.
pub fn ole_outliers<T: Real>(
    candidates: &[T],
    classes: &[T],
    dim: usize,
    quantile: f64,
) -> Result<OleOutliers<T>, NegativesError> {
    check_rows("the candidates", candidates.len(), dim)?;
    check_rows("the classes", classes.len(), dim)?;
    check_quantile(quantile)?;
    if classes.is_empty() {
        return Err(NegativesError::NoClasses);
    }
    let greatest = similarity_quantiles(candidates, &PackedRows::new(classes, dim)?, 1.0, None)?;
    if let Some(index) = greatest.iter().position(|value| !value.is_finite()) {
        let what = "candidate";
        return Err(NegativesError::SimilarityNotFinite { what, index });
    }
    let threshold = match greatest.is_empty() {
        true => T::neg_infinity(),
        false => quantile_of(&mut greatest.clone(), quantile),
    };
    let is_below = |index: &usize| greatest[*index] < threshold;
    Ok(OleOutliers {
        indices: (0..greatest.len()).filter(is_below).collect(),
        threshold,
    })
}
