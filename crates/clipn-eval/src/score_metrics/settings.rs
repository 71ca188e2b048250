use serde::{Deserialize, Serialize};

use clipn_ood::metrics::FprConvention;

use crate::fpr_figure::TPR_95;
use crate::repeat::RepeatSettings;

/// Meaning of a higher score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ScoreDirection {
    /// More in-distribution, as all scores of clipn.
    #[default]
    Known,
    /// More out-of-distribution, as the scores of pytorch-ood; the scores are negated.
    Unknown,
}

impl ScoreDirection {
    /// Name in command lines and files, `known` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn apply(self, values: &[f64]) -> Vec<f64> {
        let sign = match self {
            Self::Known => 1.0,
            Self::Unknown => -1.0,
        };
        values.iter().map(|value| sign * value).collect()
    }
}

/// Settings of the metrics.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MetricSettings {
    /// Meaning of a higher score.
    pub higher_is: ScoreDirection,
    /// True positive rates of the FPR, from 0 to 1, in the order of the results.
    pub tprs: Vec<f64>,
    /// Conventions of the FPR, in the order of the results.
    pub conventions: Vec<FprConvention>,
    /// Bootstrap resamples or subsets, if any.
    pub repeat: Option<RepeatSettings>,
}

impl Default for MetricSettings {
    /// Higher scores are more in-distribution; FPR at a TPR of 0.95 in every convention.
    fn default() -> Self {
        Self {
            higher_is: ScoreDirection::Known,
            tprs: vec![TPR_95],
            conventions: FprConvention::ALL.into(),
            repeat: None,
        }
    }
}

impl MetricSettings {
    /// Sets the meaning of a higher score.
    #[must_use]
    pub fn with_higher_is(mut self, direction: ScoreDirection) -> Self {
        self.higher_is = direction;
        self
    }

    /// Sets the true positive rates of the FPR; each counts once. Without any, they stay as they are.
    #[must_use]
    pub fn with_tprs(mut self, tprs: impl Into<Vec<f64>>) -> Self {
        let tprs = tprs.into();
        if tprs.is_empty() {
            return self;
        }
        self.tprs.clear();
        for tpr in tprs {
            if !self.tprs.contains(&tpr) {
                self.tprs.push(tpr);
            }
        }
        self
    }

    /// Sets the conventions of the FPR.
    #[must_use]
    pub fn with_conventions(mut self, conventions: impl Into<Vec<FprConvention>>) -> Self {
        self.conventions = conventions.into();
        self
    }

    /// Sets the bootstrap resamples or subsets.
    #[must_use]
    pub fn with_repeat(mut self, repeat: Option<RepeatSettings>) -> Self {
        self.repeat = repeat;
        self
    }
}
