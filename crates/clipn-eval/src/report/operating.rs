//! Operating points: fractions kept and rejected at several thresholds.

use super::decisions::{IdPrediction, fraction_below, threshold_for_fraction};

/// Fractions of in-distribution images kept at the points.
const TARGETS: [f64; 5] = [0.99, 0.95, 0.9, 0.8, 0.5];

/// Quantile of the standard normal distribution for a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// A fraction of counted images with its 95 % Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proportion {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Proportion {
    /// Computes the fraction and interval of `n` images; `None` for no images (Wilson, "Probable
    /// inference", 1927).
    pub(super) fn wilson(hits: usize, n: usize) -> Option<Self> {
        if n == 0 {
            return None;
        }
        let (p, n) = (hits as f64 / n as f64, n as f64);
        let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Some(Self {
            value: p,
            low: (center - half).max(0.0),
            high: (center + half).min(1.0),
        })
    }
}

/// Fractions kept and rejected at one threshold.
#[derive(Debug, Clone)]
pub(super) struct OperatingPoint {
    pub(super) threshold: f64,
    /// Whether it is the report's threshold.
    pub(super) chosen: bool,
    pub(super) kept: Proportion,
    /// Accuracy of the kept images that have a label.
    pub(super) accuracy: Option<Proportion>,
    /// Fraction rejected of each out-of-distribution set.
    pub(super) rejected: Vec<Proportion>,
}

/// Returns the points at the target fractions and the chosen threshold, by ascending threshold
/// without duplicates.
pub(super) fn operating_points(
    id: &[IdPrediction],
    ood: &[(&str, Vec<f64>)],
    chosen: f64,
) -> Vec<OperatingPoint> {
    let scores: Vec<f64> = id.iter().map(|j| j.score).collect();
    let mut thresholds: Vec<f64> = TARGETS
        .iter()
        .map(|&fraction| threshold_for_fraction(&scores, fraction))
        .collect();
    thresholds.push(chosen);
    thresholds.retain(|t| t.is_finite());
    thresholds.sort_unstable_by(f64::total_cmp);
    thresholds.dedup();
    let sorted: Vec<Vec<f64>> = ood
        .iter()
        .map(|(_, values)| {
            let mut values = values.clone();
            values.sort_unstable_by(f64::total_cmp);
            values
        })
        .collect();
    let point = |threshold: f64| {
        let kept = || id.iter().filter(move |j| j.score >= threshold);
        let right = kept().filter(|j| j.right == Some(true)).count();
        let rejected = |values: &Vec<f64>| {
            let n = values.len();
            Proportion::wilson(
                (fraction_below(values, threshold) * n as f64).round() as usize,
                n,
            )
        };
        Some(OperatingPoint {
            threshold,
            chosen: threshold == chosen,
            kept: Proportion::wilson(kept().count(), id.len())?,
            accuracy: Proportion::wilson(right, kept().filter(|j| j.right.is_some()).count()),
            rejected: sorted.iter().filter_map(rejected).collect(),
        })
    };
    thresholds.into_iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_wilsons_formula() {
        // Computed by hand from the formula for 8 of 10.
        let fraction = Proportion::wilson(8, 10).unwrap();
        assert!(
            (fraction.low - 0.490_162).abs() < 1e-5 && (fraction.high - 0.943_318).abs() < 1e-5,
            "{fraction:?}"
        );
        let none = Proportion::wilson(0, 20).unwrap();
        assert!(
            none.low == 0.0 && (none.high - 0.161_125).abs() < 1e-5,
            "{none:?}"
        );
        assert_eq!(Proportion::wilson(0, 0), None);
    }

    #[test]
    fn points_keep_their_target_fractions() {
        let id: Vec<IdPrediction> = (0..100)
            .map(|i| IdPrediction {
                score: f64::from(i),
                confidence: 0.5,
                right: Some(i % 2 == 0),
            })
            .collect();
        let points = operating_points(&id, &[("x", vec![0.0, 1.0, 50.0, 99.5])], 30.0);
        let points_kept_rejected: Vec<(f64, f64, f64)> = points
            .iter()
            .map(|p| (p.threshold, p.kept.value, p.rejected[0].value))
            .collect();
        assert_eq!(
            points_kept_rejected,
            [
                (1.0, 0.99, 0.25),
                (5.0, 0.95, 0.5),
                (10.0, 0.9, 0.5),
                (20.0, 0.8, 0.5),
                (30.0, 0.7, 0.5),
                (50.0, 0.5, 0.5)
            ]
        );
        assert_eq!(points.iter().filter(|p| p.chosen).count(), 1);
        assert_eq!(points[5].accuracy.unwrap().value, 0.5);
        assert!(operating_points(&[], &[("x", vec![])], 0.5).is_empty());
    }
}
