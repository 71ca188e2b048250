//! Mean and spread of metrics over repeats or runs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use clipn_data::OodKind;

use crate::fpr_figure::FprFigure;
use crate::metric_spread::{MetricSpread, SpreadSource};
use crate::results::{Average, OodResult, Results, deserialize_score_name};

/// Statistics of the metrics of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSpreads {
    /// Area under the ROC curve.
    pub auroc: MetricSpread,
    /// False-positive rate at which 95 % of the in-distribution images are kept.
    pub fpr95: MetricSpread,
    /// Average precision, in-distribution positive.
    pub aupr_in: MetricSpread,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: MetricSpread,
    /// AUPR by the trapezoidal rule, in-distribution positive, if every repeat has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aupr_in_trapezoid: Option<MetricSpread>,
    /// AUPR by the trapezoidal rule, out-of-distribution positive, if every repeat has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aupr_out_trapezoid: Option<MetricSpread>,
    /// Area under the risk-coverage curve, if every run has it; repeats of one evaluation have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aurc: Option<MetricSpread>,
    /// Mean FPR with its statistics at every true positive rate: in every convention over runs, in the
    /// convention of the settings over other repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fpr: Vec<FprFigure>,
}

/// Statistics of one score on one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OodSpread {
    /// Name of the score.
    #[serde(deserialize_with = "deserialize_score_name")]
    pub score: Name,
    /// Name of the set.
    pub ood: String,
    /// Statistics of the metrics.
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
    /// Statistics of the metrics.
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

impl MetricSpreads {
    fn from_entries<T>(
        entries: &[&T],
        source: SpreadSource,
        metrics: fn(&T) -> MetricValues,
    ) -> Self {
        let values: Vec<MetricValues> = entries.iter().map(|entry| metrics(entry)).collect();
        let of = |pick: fn(&MetricValues) -> f64| {
            MetricSpread::from_values(values.iter().map(pick), source)
        };
        let optional = |pick: fn(&MetricValues) -> Option<f64>| {
            let found: Option<Vec<f64>> = values.iter().map(pick).collect();
            found.map(|found| MetricSpread::from_values(found.into_iter(), source))
        };
        let lists: Vec<&[FprFigure]> = values.iter().map(|v| &v.fpr[..]).collect();
        let mut fpr = FprFigure::means(&lists);
        FprFigure::add_spreads(&mut fpr, &lists, source);
        Self {
            auroc: of(|v| v.main[0]),
            fpr95: of(|v| v.main[1]),
            aupr_in: of(|v| v.main[2]),
            aupr_out: of(|v| v.main[3]),
            aupr_in_trapezoid: optional(|v| v.trapezoid[0]),
            aupr_out_trapezoid: optional(|v| v.trapezoid[1]),
            aurc: optional(|v| v.aurc),
            fpr,
        }
    }

    /// Returns the statistics of every metric.
    pub(crate) fn all(&self) -> impl Iterator<Item = &MetricSpread> {
        let Self {
            auroc,
            fpr95,
            aupr_in,
            aupr_out,
            aupr_in_trapezoid,
            aupr_out_trapezoid,
            aurc,
            fpr,
        } = self;
        [auroc, fpr95, aupr_in, aupr_out]
            .into_iter()
            .chain(aupr_in_trapezoid)
            .chain(aupr_out_trapezoid)
            .chain(aurc)
            .chain(fpr.iter().filter_map(|figure| figure.spread.as_ref()))
    }
}

/// The metrics of one repeat whose statistics are computed.
pub(crate) struct MetricValues {
    /// AUROC, FPR95, and average precision with ID and with OOD positive.
    pub(crate) main: [f64; 4],
    /// AUPR by the trapezoidal rule with ID and with OOD positive.
    pub(crate) trapezoid: [Option<f64>; 2],
    pub(crate) aurc: Option<f64>,
    /// FPR at every true positive rate.
    pub(crate) fpr: Vec<FprFigure>,
}

pub(crate) fn metrics_of_result(r: &OodResult) -> MetricValues {
    MetricValues {
        main: [r.auroc, r.fpr95, r.aupr_in, r.aupr_out],
        trapezoid: [r.aupr_in_trapezoid, r.aupr_out_trapezoid],
        aurc: r.aurc,
        fpr: r.fpr.clone(),
    }
}

fn metrics_of_average(a: &Average) -> MetricValues {
    MetricValues {
        main: [a.auroc, a.fpr95, a.aupr_in, a.aupr_out],
        trapezoid: [a.aupr_in_trapezoid, a.aupr_out_trapezoid],
        aurc: a.aurc,
        fpr: a.fpr.clone(),
    }
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
