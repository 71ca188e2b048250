//! Which of the calibration scores is the threshold.

use super::interval::{beta_probability, binomial_probability};
use super::{CalibrationError, Choice, Settings};

/// The place (from 1) of the threshold among n sorted scores; pictures below it are unknown.
///
/// On average the k-th lowest keeps 1 − k/(n + 1), so k is the greatest with at least the target. With a guarantee it is the
/// greatest with P(Beta(n + 1 − k, k) ≥ target) of at least the confidence.
pub(super) fn rank(n: usize, settings: &Settings) -> Result<usize, CalibrationError> {
    let target = settings.target_tpr;
    // Not floor((n + 1)·(1 − target)), which the rounding of 1 − target may push below a whole number.
    let on_average = |k: usize| 1.0 - k as f64 / (n as f64 + 1.0) >= target - 1e-12;
    let guaranteed = |k: usize| {
        1.0 - beta_probability((n + 1 - k) as f64, k as f64, target) >= settings.confidence
    };
    let is_safe = |k: usize| match settings.choice {
        Choice::Guaranteed => guaranteed(k),
        Choice::OnAverage | Choice::Best => on_average(k),
    };
    // Both grow harder with k: the greatest that holds, by halving.
    let (mut holds, mut fails) = (0, n + 1);
    while fails - holds > 1 {
        let middle = holds + (fails - holds) / 2;
        if is_safe(middle) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    if holds == 0 {
        return Err(CalibrationError::TooFew {
            n,
            target_tpr: target,
            needed: fewest_for(settings),
        });
    }
    Ok(holds)
}

/// The fewest pictures with which there is a threshold: n ≥ 1/(1 − target) − 1, or with a guarantee
/// targetⁿ ≤ 1 − confidence.
pub fn fewest_for(settings: &Settings) -> usize {
    let target = settings.target_tpr;
    let fewest = match settings.choice {
        Choice::Guaranteed => (1.0 - settings.confidence).ln() / target.ln(),
        Choice::OnAverage | Choice::Best => target / (1.0 - target),
    };
    (fewest - 1e-9).ceil().max(1.0) as usize
}

/// Between which two of n sorted scores the true threshold (the quantile of all pictures' scores that keeps the target) lies
/// with the confidence; `None` at an end that n scores cannot bound.
pub(super) fn bounds(sorted: &[f64], settings: &Settings) -> [Option<f64>; 2] {
    let (n, share, tail) = (
        sorted.len(),
        1.0 - settings.target_tpr,
        (1.0 - settings.confidence) / 2.0,
    );
    // The number of scores below the true quantile is binomial.
    let first = |wanted: f64| {
        (0..=n)
            .find(|&k| binomial_probability(n, share, k) >= wanted)
            .unwrap_or(n)
    };
    let (few, many) = (first(tail), first(1.0 - tail));
    [
        few.checked_sub(1).and_then(|at| sorted.get(at)).copied(),
        sorted.get(many).copied(),
    ]
}

/// The threshold with the greatest share kept of `id` plus share rejected of `ood`, in the middle of the gap around it; the
/// lowest among equals, which keeps most. Both sorted from the lowest and finite.
pub(super) fn best(id: &[f64], ood: &[f64]) -> f64 {
    let mut all: Vec<f64> = id.iter().chain(ood).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    all.dedup();
    let below = |sorted: &[f64], threshold: f64| sorted.partition_point(|&s| s < threshold);
    let gain = |threshold: f64| {
        // Rejected unknown − rejected ID, as counts over one denominator: no rounding decides among equals.
        let (unknown, own) = (below(ood, threshold) as i128, below(id, threshold) as i128);
        unknown * id.len() as i128 - own * ood.len() as i128
    };
    let mut best = (i128::MIN, 0);
    for (at, &threshold) in all.iter().enumerate() {
        let gain = gain(threshold);
        if gain > best.0 {
            best = (gain, at);
        }
    }
    let at = best.1;
    match at.checked_sub(1).and_then(|before| all.get(before)) {
        Some(&before) => {
            let middle = before + (all[at] - before) / 2.0;
            // Neighbours have no number between them.
            if middle > before { middle } else { all[at] }
        }
        None => all.first().copied().unwrap_or(f64::NEG_INFINITY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(target_tpr: f64, choice: Choice) -> Settings {
        Settings {
            target_tpr,
            choice,
            ..Settings::default()
        }
    }

    #[test]
    fn on_average_is_the_conformal_rank() {
        let at = |n, target| rank(n, &settings(target, Choice::OnAverage)).unwrap();
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
        let error = rank(18, &settings(0.95, Choice::OnAverage))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("18 pictures are too few") && error.contains("it takes 19"),
            "{error}"
        );
    }

    #[test]
    fn a_guarantee_keeps_more() {
        // Wilks: 59 pictures for 95 % with a confidence of 95 %.
        let guaranteed = settings(0.95, Choice::Guaranteed);
        assert_eq!(fewest_for(&guaranteed), 59);
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
    fn the_best_lies_in_the_middle_of_the_gap() {
        assert_eq!(best(&[1.0, 2.0], &[-3.0, -1.0]), 0.0);
        // One unknown among the known: either side of it is as good, the lower keeps more.
        assert_eq!(best(&[1.0, 3.0], &[0.0, 2.0]), 0.5);
        // Nothing tells them apart.
        assert_eq!(best(&[1.0], &[1.0]), 1.0);
        assert_eq!(best(&[1.0, 2.0], &[5.0]), 1.0);
    }

    #[test]
    fn the_quantile_is_between_its_bounds() {
        let sorted: Vec<f64> = (1..=1000).map(f64::from).collect();
        let [low, high] = bounds(&sorted, &settings(0.95, Choice::OnAverage));
        let (low, high) = (low.unwrap(), high.unwrap());
        assert!(
            low > 30.0 && low < 45.0 && high > 58.0 && high < 70.0,
            "{low} {high}"
        );
        assert_eq!(
            bounds(&sorted[..20], &settings(0.95, Choice::OnAverage))[0],
            None
        );
    }
}
