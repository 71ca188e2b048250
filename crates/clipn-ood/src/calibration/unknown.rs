use serde::{Deserialize, Serialize};

use super::threshold::best;
use super::{CalibrationError, Share};
use crate::metrics::RankedScores;

/// Parts that pictures are dealt to, so that a threshold is measured on pictures that it was not chosen with.
const FOLDS: usize = 5;

/// How a threshold does on examples of the unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UnknownPictures {
    /// Those that the threshold rejects.
    pub rejected: Share,
    /// Area under the ROC curve of the score.
    pub auroc: f64,
    /// Of a threshold that was chosen with these very pictures: the mean of the share kept and the share rejected, on
    /// pictures apart from those it was chosen with (cross-validation in five parts). The share on the pictures
    /// themselves flatters.
    pub balanced_accuracy: Option<f64>,
}

/// Measures `threshold` on scores in the order of the pictures; `chosen_with` says that it was chosen with them.
pub(super) fn measure(
    id: &[f64],
    ood: &[f64],
    threshold: f64,
    chosen_with: bool,
    confidence: f64,
) -> Result<UnknownPictures, CalibrationError> {
    let auroc = RankedScores::new(id, ood)?.auroc();
    let rejected = ood.iter().filter(|score| **score < threshold).count();
    Ok(UnknownPictures {
        rejected: Share::counted(rejected, ood.len(), confidence),
        auroc,
        balanced_accuracy: chosen_with.then(|| cross_validated(id, ood)).flatten(),
    })
}

/// Neighbours go to different parts, so that each has pictures of every folder. (Dealt in the order of their scores, the
/// parts would be alike to the point of telling each other's answers.)
fn cross_validated(id: &[f64], ood: &[f64]) -> Option<f64> {
    if id.len() < 2 * FOLDS || ood.len() < 2 * FOLDS {
        return None;
    }
    let part = |scores: &[f64], fold: usize, inside: bool| -> Vec<f64> {
        let of_part = |(at, _): &(usize, &f64)| (at % FOLDS == fold) == inside;
        scores
            .iter()
            .enumerate()
            .filter(of_part)
            .map(|(_, score)| *score)
            .collect()
    };
    let (mut kept, mut rejected) = (0, 0);
    for fold in 0..FOLDS {
        let rest = |scores: &[f64]| {
            let mut rest = part(scores, fold, false);
            rest.sort_unstable_by(f64::total_cmp);
            rest
        };
        let threshold = best(&rest(id), &rest(ood));
        kept += part(id, fold, true)
            .iter()
            .filter(|score| **score >= threshold)
            .count();
        rejected += part(ood, fold, true)
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
    fn kinds_that_are_apart_are_told_apart() {
        let id: Vec<f64> = (0..20).map(|i| 10.0 + f64::from(i)).collect();
        let ood: Vec<f64> = (0..10).map(|i| f64::from(i) / 2.0).collect();
        let found = measure(&id, &ood, 7.0, true, 0.95).unwrap();
        assert_eq!(
            (found.rejected.count, found.auroc, found.balanced_accuracy),
            (10, 1.0, Some(1.0))
        );
        assert_eq!(
            measure(&id, &ood, 2.0, false, 0.95)
                .unwrap()
                .balanced_accuracy,
            None
        );
        assert_eq!(
            measure(&id, &ood, 2.0, false, 0.95).unwrap().rejected.count,
            4
        );
        assert_eq!(
            measure(&id, &ood[..9], 2.0, true, 0.95)
                .unwrap()
                .balanced_accuracy,
            None
        );
    }
}
