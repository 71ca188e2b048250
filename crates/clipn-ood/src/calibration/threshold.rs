//! Selection of the threshold among the calibration scores.

use super::interval::{beta_cdf, binomial_cdf};
use super::{CalibrationError, CalibrationSettings, ThresholdMethod};
use crate::scores::Score;

/// Rank (from 1) of the threshold among n ascending scores; images below it are unknown.
///
/// The k-th lowest score keeps a fraction of 1 − k/(n + 1) on average, so
/// [`ThresholdMethod::OnAverage`] takes the largest k for which this is at least the target.
/// [`ThresholdMethod::Guaranteed`] takes the largest k for which P(Beta(n + 1 − k, k) ≥ target) is
/// at least the confidence.
pub(super) fn rank(n: usize, settings: &CalibrationSettings) -> Result<usize, CalibrationError> {
    let target = settings.target_tpr;
    // Not floor((n + 1)·(1 − target)): rounding of 1 − target may push it below an integer.
    let on_average = |k: usize| 1.0 - k as f64 / (n as f64 + 1.0) >= target - 1e-12;
    let guaranteed =
        |k: usize| 1.0 - beta_cdf((n + 1 - k) as f64, k as f64, target) >= settings.confidence;
    let satisfies = |k: usize| match settings.method {
        ThresholdMethod::Guaranteed => guaranteed(k),
        ThresholdMethod::OnAverage | ThresholdMethod::Best => on_average(k),
    };
    // Both conditions are monotone in k: bisect for the largest k that satisfies them.
    let (mut low, mut high) = (0, n + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if satisfies(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return Err(CalibrationError::TooFewImages {
            images: n,
            target_tpr: target,
            required: min_images(settings),
        });
    }
    Ok(low)
}

/// Minimum number of images for which a threshold exists: n ≥ 1/(1 − target) − 1, or targetⁿ ≤ 1 −
/// confidence for [`ThresholdMethod::Guaranteed`].
pub fn min_images(settings: &CalibrationSettings) -> usize {
    let target = settings.target_tpr;
    let minimum = match settings.method {
        ThresholdMethod::Guaranteed => (1.0 - settings.confidence).ln() / target.ln(),
        ThresholdMethod::OnAverage | ThresholdMethod::Best => target / (1.0 - target),
    };
    (minimum - 1e-9).ceil().max(1.0) as usize
}

/// Confidence interval, between two of n ascending scores, of the true threshold: the quantile of
/// the population's scores that keeps the target. An end is `None` if n scores cannot bound it.
pub(super) fn confidence_interval(
    sorted: &[f64],
    settings: &CalibrationSettings,
) -> [Option<f64>; 2] {
    let (n, rejected, tail) = (
        sorted.len(),
        1.0 - settings.target_tpr,
        (1.0 - settings.confidence) / 2.0,
    );
    // The number of scores below the true quantile is binomial.
    let first = |probability: f64| {
        (0..=n)
            .find(|&k| binomial_cdf(n, rejected, k) >= probability)
            .unwrap_or(n)
    };
    let (lower, upper) = (first(tail), first(1.0 - tail));
    [
        lower.checked_sub(1).and_then(|i| sorted.get(i)).copied(),
        sorted.get(upper).copied(),
    ]
}

/// Threshold that maximizes Youden's index: the fraction kept of `id` plus the fraction rejected of
/// `ood`.
///
/// It is the midpoint of the gap between scores. Ties go to the lowest threshold, which keeps the
/// most images. Both inputs are ascending and finite.
pub(super) fn maximize_youden_index(id: &[f64], ood: &[f64]) -> f64 {
    let mut all: Vec<f64> = id.iter().chain(ood).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    all.dedup();
    let below = |sorted: &[f64], threshold: f64| sorted.partition_point(|&s| s < threshold);
    let youden_index = |threshold: f64| {
        // Rejected OOD − rejected ID, as integers over a common denominator, so that rounding
        // cannot break ties.
        let (rejected_ood, rejected_id) =
            (below(ood, threshold) as i128, below(id, threshold) as i128);
        rejected_ood * id.len() as i128 - rejected_id * ood.len() as i128
    };
    let mut best = (i128::MIN, 0);
    for (i, &threshold) in all.iter().enumerate() {
        let value = youden_index(threshold);
        if value > best.0 {
            best = (value, i);
        }
    }
    let i = best.1;
    match i.checked_sub(1).and_then(|previous| all.get(previous)) {
        Some(&previous) => {
            let middle = previous + (all[i] - previous) / 2.0;
            // Adjacent floating-point numbers have no number between them.
            if middle > previous { middle } else { all[i] }
        }
        None => all.first().copied().unwrap_or(f64::NEG_INFINITY),
    }
}

/// Converts a threshold from the unit of [`Score::stable`] to the published one: the smallest value that reaches
/// it, so that `score >= threshold` decides alike in both units. The exponential of a logarithm may exceed the
/// number that the logarithm was taken of.
///
/// ```
/// use clipn_ood::calibration::published_threshold;
/// use clipn_ood::scores::{Msp, Score};
///
/// let stable = Msp.to_stable(0.01);
/// assert!(Msp.from_stable(stable) > 0.01);
/// assert!(published_threshold(&Msp, stable) <= 0.01);
/// ```
pub fn published_threshold(score: &dyn Score, threshold: f64) -> f64 {
    let start = score.from_stable(threshold);
    if !start.is_finite() || start == 0.0 {
        return start;
    }
    let is_reached = |value: f64| score.to_stable(value) >= threshold;
    let mut reached = start;
    for _ in 0..MAX_ROUNDING {
        if is_reached(reached) {
            break;
        }
        reached = reached.next_up();
    }
    if !is_reached(reached) {
        return start;
    }
    for _ in 0..MAX_ROUNDING {
        let below = reached.next_down();
        if !is_reached(below) {
            break;
        }
        reached = below;
    }
    reached
}

/// Maximum distance of a converted threshold from the exact one, in numbers between: the rounding of a logarithm
/// of at most a few hundred.
const MAX_ROUNDING: usize = 1 << 11;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(target_tpr: f64, method: ThresholdMethod) -> CalibrationSettings {
        CalibrationSettings::default()
            .with_target_tpr(target_tpr)
            .with_method(method)
    }

    #[test]
    fn on_average_uses_the_conformal_rank() {
        let at = |n, target| rank(n, &settings(target, ThresholdMethod::OnAverage)).unwrap();
        assert_eq!(
            (
                at(19, 0.95),
                at(99, 0.95),
                at(100, 0.95),
                at(119, 0.95),
                at(999, 0.9)
            ),
            (1, 5, 5, 6, 100)
        );
        let error = rank(18, &settings(0.95, ThresholdMethod::OnAverage))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("at least 19 images") && error.contains("got 18"),
            "{error}"
        );
    }

    #[test]
    fn guaranteed_uses_the_ranks_of_wilks() {
        // Wilks: 59 images for 95 % with a confidence of 95 %.
        let guaranteed = settings(0.95, ThresholdMethod::Guaranteed);
        assert_eq!(min_images(&guaranteed), 59);
        assert!(rank(58, &guaranteed).is_err());
        assert_eq!(rank(59, &guaranteed).unwrap(), 1);
        // The known sizes for the second and third lowest are 93 and 124.
        assert_eq!(
            (
                rank(92, &guaranteed).unwrap(),
                rank(93, &guaranteed).unwrap()
            ),
            (1, 2)
        );
        assert_eq!(
            (
                rank(123, &guaranteed).unwrap(),
                rank(124, &guaranteed).unwrap()
            ),
            (2, 3)
        );
    }

    #[test]
    fn best_is_the_midpoint_of_the_gap() {
        assert_eq!(maximize_youden_index(&[1.0, 2.0], &[-3.0, -1.0]), 0.0);
        // One OOD score among the ID scores: both sides of it are equally good, and the lower keeps
        // more.
        assert_eq!(maximize_youden_index(&[1.0, 3.0], &[0.0, 2.0]), 0.5);
        // Not separable.
        assert_eq!(maximize_youden_index(&[1.0], &[1.0]), 1.0);
        assert_eq!(maximize_youden_index(&[1.0, 2.0], &[5.0]), 1.0);
    }

    #[test]
    fn the_confidence_interval_contains_the_quantile() {
        let sorted: Vec<f64> = (1..=1000).map(f64::from).collect();
        let [low, high] = confidence_interval(&sorted, &settings(0.95, ThresholdMethod::OnAverage));
        let (low, high) = (low.unwrap(), high.unwrap());
        assert!(
            low > 30.0 && low < 45.0 && high > 58.0 && high < 70.0,
            "{low} {high}"
        );
        assert_eq!(
            confidence_interval(&sorted[..20], &settings(0.95, ThresholdMethod::OnAverage))[0],
            None
        );
    }
}
