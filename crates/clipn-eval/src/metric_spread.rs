//! Mean, deviation and interval of one metric over repeats or runs.

use serde::{Deserialize, Serialize};

/// Source of the variation over repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SpreadSource {
    /// Runs with different weights, seeds or machines.
    Runs,
    /// Random subsets of the scored images, drawn without replacement.
    Subsets,
    /// Bootstrap resamples of the scored images: samples of the same size, drawn with replacement.
    Resamples,
}

/// Statistics of one metric over the repeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSpread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation, with n − 1.
    pub std: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// The 2.5th and 97.5th percentiles of resamples, which are the bootstrap's 95 % confidence
    /// interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl MetricSpread {
    /// Computes the statistics of at least two values, with the interval for resamples.
    pub(crate) fn from_values(values: impl Iterator<Item = f64>, source: SpreadSource) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len() as f64;
        let (min, max) = (values.first().copied(), values.last().copied());
        // The sum of equal values may round; take their value, so that the deviation is exactly 0.
        let mean = match (min, max) {
            (Some(min), Some(max)) if min == max => min,
            _ => values.iter().sum::<f64>() / n,
        };
        let sum_of_squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self {
            mean,
            std: (sum_of_squares / (n - 1.0).max(1.0)).sqrt(),
            min: min.unwrap_or(f64::NAN),
            max: max.unwrap_or(f64::NAN),
            interval: (source == SpreadSource::Resamples)
                .then(|| [0.025, 0.975].map(|probability| quantile(&values, probability))),
        }
    }
}

/// Returns a quantile of sorted values, interpolated linearly between the two nearest as in
/// `numpy.quantile`.
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * (position - position.floor()),
        _ => f64::NAN,
    }
}

impl SpreadSource {
    /// Same as [`Spread::center`](crate::Spread::center).
    pub fn center(self, value: f64, spread: &MetricSpread) -> f64 {
        if self == Self::Resamples {
            value
        } else {
            spread.mean
        }
    }

    /// Same as [`Spread::description`](crate::Spread::description), for `n` repeats with `subset` images of a set each.
    pub fn description(self, n: usize, subset: Option<usize>) -> String {
        match (self, subset) {
            (Self::Resamples, _) => format!(
                "value on all images ± standard deviation over {n} bootstrap resamples of each set"
            ),
            (Self::Subsets, Some(m)) => format!(
                "mean ± sample standard deviation over {n} random subsets of {m} images of each \
                 set, drawn without replacement"
            ),
            (Self::Subsets, None) => {
                format!("mean ± sample standard deviation over {n} random subsets")
            }
            (Self::Runs, _) => format!("mean ± sample standard deviation over {n} runs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_the_sample_standard_deviation() {
        let v = MetricSpread::from_values([0.2, 0.4, 0.6].into_iter(), SpreadSource::Runs);
        assert!(
            (v.mean - 0.4).abs() < 1e-15 && (v.std - 0.2).abs() < 1e-15,
            "{v:?}"
        );
        assert_eq!((v.min, v.max, v.interval), (0.2, 0.6, None));
        let same = MetricSpread::from_values([0.1; 7].into_iter(), SpreadSource::Runs);
        assert_eq!((same.mean, same.std), (0.1, 0.0));
    }

    #[test]
    fn intervals_are_the_percentiles_of_resamples() {
        let v = MetricSpread::from_values(
            (0..=1000).map(|i| f64::from(i) / 1000.0),
            SpreadSource::Resamples,
        );
        let [low, high] = v.interval.unwrap();
        assert!(
            (low - 0.025).abs() < 1e-12 && (high - 0.975).abs() < 1e-12,
            "{v:?}"
        );
        assert!((quantile(&[1.0, 2.0], 0.25) - 1.25).abs() < 1e-15);
    }
}
