use serde::{Deserialize, Serialize};

use super::threshold::maximize_youden_index;
use super::{CalibrationError, Proportion};
use crate::metrics::RankedScores;

/// Number of cross-validation folds.
const FOLDS: usize = 5;

/// Performance of a threshold on out-of-distribution examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OodPerformance {
    /// Examples that the threshold rejects.
    pub rejected: Proportion,
    /// Area under the ROC curve of the score, from 0 to 1.
    pub auroc: f64,
    /// Mean of the fraction kept and the fraction rejected in five-fold cross-validation, if the
    /// threshold was chosen with these examples. Without cross-validation, the figure would be too
    /// optimistic. `None` if either set has fewer than 10 images.
    pub balanced_accuracy: Option<f64>,
}

impl OodPerformance {
    /// Measures `threshold` on scores in the order of the images.
    pub(super) fn new(
        id: &[f64],
        ood: &[f64],
        threshold: f64,
        confidence: f64,
    ) -> Result<Self, CalibrationError> {
        let auroc = RankedScores::new(id, ood)?.auroc();
        let rejected = ood.iter().filter(|score| **score < threshold).count();
        Ok(Self {
            rejected: Proportion::clopper_pearson(rejected, ood.len(), confidence),
            auroc,
            balanced_accuracy: None,
        })
    }

    /// Adds the balanced accuracy by cross-validation, for a threshold that was chosen with the
    /// same scores.
    pub(super) fn with_cross_validation(self, id: &[f64], ood: &[f64]) -> Self {
        Self {
            balanced_accuracy: cross_validate(id, ood),
            ..self
        }
    }
}

/// Balanced accuracy by cross-validation.
///
/// Consecutive images go to different folds, so that each fold has images of every directory.
/// Assignment in the order of the scores would make the folds nearly identical and leak the answers
/// between them.
fn cross_validate(id: &[f64], ood: &[f64]) -> Option<f64> {
    if id.len() < 2 * FOLDS || ood.len() < 2 * FOLDS {
        return None;
    }
    let select = |scores: &[f64], fold: usize, inside: bool| -> Vec<f64> {
        let is_selected = |(i, _): &(usize, &f64)| (i % FOLDS == fold) == inside;
        scores
            .iter()
            .enumerate()
            .filter(is_selected)
            .map(|(_, score)| *score)
            .collect()
    };
    let (mut kept, mut rejected) = (0, 0);
    for fold in 0..FOLDS {
        let rest = |scores: &[f64]| {
            let mut rest = select(scores, fold, false);
            rest.sort_unstable_by(f64::total_cmp);
            rest
        };
        let threshold = maximize_youden_index(&rest(id), &rest(ood));
        kept += select(id, fold, true)
            .iter()
            .filter(|score| **score >= threshold)
            .count();
        rejected += select(ood, fold, true)
            .iter()
            .filter(|score| **score < threshold)
            .count();
    }
    Some(0.5 * (kept as f64 / id.len() as f64 + rejected as f64 / ood.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_sets_are_separated_perfectly() {
        let id: Vec<f64> = (0..20).map(|i| 10.0 + f64::from(i)).collect();
        let ood: Vec<f64> = (0..10).map(|i| f64::from(i) / 2.0).collect();
        let measure =
            |ood: &[f64], threshold| OodPerformance::new(&id, ood, threshold, 0.95).unwrap();
        let performance = measure(&ood, 7.0).with_cross_validation(&id, &ood);
        assert_eq!(
            (
                performance.rejected.count,
                performance.auroc,
                performance.balanced_accuracy
            ),
            (10, 1.0, Some(1.0))
        );
        assert_eq!(measure(&ood, 2.0).balanced_accuracy, None);
        assert_eq!(measure(&ood, 2.0).rejected.count, 4);
        let few = measure(&ood[..9], 2.0).with_cross_validation(&id, &ood[..9]);
        assert_eq!(few.balanced_accuracy, None);
    }
}
