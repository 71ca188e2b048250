use clipn_data::OodKind;
use clipn_detect::adaptation::AdaptiveMethod;
use serde::{Deserialize, Serialize};

use super::StreamSettings;

/// Results of scores that learn from the stream, and how the streams were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamRecord {
    /// Order and mixture.
    pub settings: StreamSettings,
    /// One entry for each method, set and mixture.
    pub results: Vec<StreamResult>,
}

/// Metrics of one method on the streams of one set with one mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamResult {
    /// Method.
    pub method: AdaptiveMethod,
    /// Name of the out-of-distribution set.
    pub ood: String,
    /// `near` or `far`, if the benchmark defines it.
    pub kind: Option<OodKind>,
    /// The requested part of the stream that is out-of-distribution; `None` for all images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ood_share: Option<f64>,
    /// Number of in-distribution images in the stream.
    pub n_id: usize,
    /// Number of out-of-distribution images in the stream.
    pub n_ood: usize,
    /// Means over the orders.
    pub mean: StreamMetrics,
    /// Sample standard deviations over the orders; `None` for a single order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<StreamMetrics>,
    /// Metrics of the same score without memory on the same images, means over the orders.
    pub fixed: StreamMetrics,
    /// Metrics in each order.
    pub orders: Vec<StreamMetrics>,
}

/// Metrics of a score on one stream, as fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamMetrics {
    /// Area under the ROC curve, in-distribution positive.
    pub auroc: f64,
    /// False-positive rate at which 95 % of the in-distribution images are kept.
    pub fpr95: f64,
    /// Average precision, in-distribution positive.
    pub aupr_in: f64,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: f64,
    /// Fraction of the in-distribution images whose predicted class is right; `None` without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Fraction of the in-distribution images that are known by the method's own threshold; `None` for the
    /// score without memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// Fraction of the out-of-distribution images that are unknown by the method's own threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<f64>,
}

impl StreamMetrics {
    /// Every metric, with its name.
    fn all(&self) -> [(&'static str, Option<f64>); 7] {
        [
            ("auroc", Some(self.auroc)),
            ("fpr95", Some(self.fpr95)),
            ("aupr_in", Some(self.aupr_in)),
            ("aupr_out", Some(self.aupr_out)),
            ("accuracy", self.accuracy),
            ("kept", self.kept),
            ("rejected", self.rejected),
        ]
    }

    /// Combines each metric of several; one that any of them lacks is missing.
    fn combined(each: &[Self], combine: impl Fn(&[f64]) -> f64) -> Self {
        let values = |pick: &dyn Fn(&Self) -> Option<f64>| {
            let values: Option<Vec<f64>> = each.iter().map(pick).collect();
            values.map(|values| combine(&values))
        };
        let value = |pick: fn(&Self) -> f64| values(&|m| Some(pick(m))).unwrap_or(f64::NAN);
        Self {
            auroc: value(|m| m.auroc),
            fpr95: value(|m| m.fpr95),
            aupr_in: value(|m| m.aupr_in),
            aupr_out: value(|m| m.aupr_out),
            accuracy: values(&|m| m.accuracy),
            kept: values(&|m| m.kept),
            rejected: values(&|m| m.rejected),
        }
    }

    /// Means of at least one.
    pub(super) fn means(each: &[Self]) -> Self {
        Self::combined(each, mean)
    }

    /// Sample standard deviations; `None` for fewer than two.
    pub(super) fn deviations(each: &[Self]) -> Option<Self> {
        let deviation = |values: &[f64]| {
            let mean = mean(values);
            let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
            (squares / (values.len() as f64 - 1.0)).sqrt()
        };
        (each.len() > 1).then(|| Self::combined(each, deviation))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl StreamRecord {
    /// Joins the results of several methods on the same streams.
    pub fn new(settings: StreamSettings, results: Vec<StreamResult>) -> Self {
        Self { settings, results }
    }

    /// Checks what a file contains; the error describes what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        for result in &self.results {
            let of = format!("of {} on the stream with {}", result.method, result.ood);
            if result.ood.contains(char::is_control) {
                return Err(format!(
                    "control character in the name {:?} in `streams`",
                    result.ood
                ));
            }
            if result.orders.is_empty() || result.n_id == 0 || result.n_ood == 0 {
                return Err(format!("no images or orders {of}"));
            }
            let each = result.orders.iter();
            for metrics in each.chain([&result.mean, &result.fixed]).chain(&result.std) {
                for (name, value) in metrics.all() {
                    if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
                        return Err(format!("{name} {of}: expected a fraction from 0 to 1"));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_need_every_value() {
        let metrics = |auroc, accuracy| StreamMetrics {
            auroc,
            fpr95: 0.5,
            aupr_in: 0.5,
            aupr_out: 0.5,
            accuracy,
            kept: Some(auroc),
            rejected: None,
        };
        let each = [metrics(0.2, Some(1.0)), metrics(0.6, None)];
        let mean = StreamMetrics::means(&each);
        assert_eq!(
            (mean.auroc, mean.accuracy, mean.kept),
            (0.4, None, Some(0.4))
        );
        let std = StreamMetrics::deviations(&each).unwrap();
        assert!((std.auroc - 0.08_f64.sqrt()).abs() < 1e-12 && std.fpr95 == 0.0);
        assert_eq!(StreamMetrics::deviations(&each[..1]), None);
    }
}
