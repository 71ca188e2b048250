//! Mean and spread of metrics over repeats or runs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use clipn_data::OodKind;

use crate::results::{Average, OodResult, Results, deserialize_score_name};

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

/// Statistics of the four metrics of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSpreads {
    /// Area under the ROC curve.
    pub auroc: MetricSpread,
    /// False-positive rate at which 95 % of the in-distribution images are kept.
    pub fpr95: MetricSpread,
    /// Average precision, in-distribution positive.
    pub aupr_in: MetricSpread,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: MetricSpread,
}

/// Statistics of one score on one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OodSpread {
    /// Name of the score.
    #[serde(deserialize_with = "deserialize_score_name")]
    pub score: Name,
    /// Name of the set.
    pub ood: String,
    /// Statistics of the four metrics.
    #[serde(flatten)]
    pub metrics: MetricSpreads,
}

/// Statistics of one score's mean over sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AverageSpread {
    /// Name of the score.
    #[serde(deserialize_with = "deserialize_score_name")]
    pub score: Name,
    /// `near`, `far`, or `None` for all sets.
    pub kind: Option<OodKind>,
    /// Statistics of the four metrics.
    #[serde(flatten)]
    pub metrics: MetricSpreads,
}

/// Name of a score.
type Name = &'static str;

/// One of several merged runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// File that the run was read from.
    pub path: String,
    /// Accuracy of the run.
    pub accuracy: Option<f64>,
    /// Mean metrics of the run.
    pub averages: Vec<Average>,
    /// Settings of the run that are not equal in all runs.
    pub settings: Map<String, Value>,
}

/// Mean and spread of every metric of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Source of the variation.
    #[serde(rename = "over")]
    pub source: SpreadSource,
    /// Number of repeats or runs, at least 2.
    pub n: usize,
    /// Number of images of a set in each subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<usize>,
    /// Seed of the draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Statistics of the accuracy, if every repeat has one.
    pub accuracy: Option<MetricSpread>,
    /// One entry per score and set, in the order of [`Results::results`].
    pub results: Vec<OodSpread>,
    /// One entry per mean, in the order of [`Results::averages`].
    pub averages: Vec<AverageSpread>,
    /// The runs, if runs were merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunSummary>,
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

impl MetricSpreads {
    fn from_entries<T>(entries: &[&T], source: SpreadSource, metrics: fn(&T) -> [f64; 4]) -> Self {
        let [auroc, fpr95, aupr_in, aupr_out] = [0, 1, 2, 3].map(|i| {
            MetricSpread::from_values(entries.iter().map(|entry| metrics(entry)[i]), source)
        });
        Self {
            auroc,
            fpr95,
            aupr_in,
            aupr_out,
        }
    }
}

pub(crate) fn metrics_of_result(r: &OodResult) -> [f64; 4] {
    [r.auroc, r.fpr95, r.aupr_in, r.aupr_out]
}

pub(crate) fn metrics_of_average(a: &Average) -> [f64; 4] {
    [a.auroc, a.fpr95, a.aupr_in, a.aupr_out]
}

impl Spread {
    /// Computes the spread of repeats that have the same scores and sets in the same order.
    pub(crate) fn from_repeats(repeats: &[Results], source: SpreadSource) -> Self {
        let first = repeats.first();
        let results = first
            .map_or(&[][..], |r| &r.results)
            .iter()
            .enumerate()
            .map(|(i, entry)| {
                let entries: Vec<&OodResult> =
                    repeats.iter().filter_map(|r| r.results.get(i)).collect();
                let metrics = MetricSpreads::from_entries(&entries, source, metrics_of_result);
                OodSpread {
                    score: entry.score,
                    ood: entry.ood.clone(),
                    metrics,
                }
            });
        let averages = first
            .map_or(&[][..], |r| &r.averages)
            .iter()
            .enumerate()
            .map(|(i, entry)| {
                let entries: Vec<&Average> =
                    repeats.iter().filter_map(|r| r.averages.get(i)).collect();
                let metrics = MetricSpreads::from_entries(&entries, source, metrics_of_average);
                AverageSpread {
                    score: entry.score,
                    kind: entry.kind,
                    metrics,
                }
            });
        let accuracies: Option<Vec<f64>> = repeats.iter().map(|r| r.accuracy).collect();
        Self {
            source,
            n: repeats.len(),
            subset: None,
            seed: None,
            accuracy: accuracies
                .map(|values| MetricSpread::from_values(values.into_iter(), source)),
            results: results.collect(),
            averages: averages.collect(),
            runs: Vec::new(),
        }
    }

    /// Returns the statistics of one score on one set.
    pub fn result(&self, score: &str, ood: &str) -> Option<&MetricSpreads> {
        self.results
            .iter()
            .find(|s| s.score == score && s.ood == ood)
            .map(|s| &s.metrics)
    }

    /// Returns the statistics of one score's mean.
    pub fn average(&self, score: &str, kind: Option<OodKind>) -> Option<&MetricSpreads> {
        self.averages
            .iter()
            .find(|s| s.score == score && s.kind == kind)
            .map(|s| &s.metrics)
    }

    /// Returns the value before the ± of a metric. For resamples, it is the metric on all images,
    /// whose uncertainty the spread describes; for subsets and runs, it is the mean.
    pub fn center(&self, value: f64, spread: &MetricSpread) -> f64 {
        self.source.center(value, spread)
    }

    /// Describes the values before and after the ±, as a phrase without final stop.
    pub fn description(&self) -> String {
        self.source.description(self.n, self.subset)
    }
}

impl SpreadSource {
    /// Same as [`Spread::center`].
    pub fn center(self, value: f64, spread: &MetricSpread) -> f64 {
        if self == Self::Resamples {
            value
        } else {
            spread.mean
        }
    }

    /// Same as [`Spread::description`], for `n` repeats with `subset` images of a set each.
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
