//! Metrics of scores from anywhere, at one or several true positive rates, in one or all FPR conventions.

mod compute;
mod settings;

pub use settings::{MetricSettings, ScoreDirection};

use serde::{Deserialize, Serialize};

use clipn_base::progress::{NoProgress, Progress};
use clipn_ood::metrics::CoarseScores;

use crate::error::EvaluationError;
use crate::fpr_figure::{FprFigure, TPR_95};
use crate::metric_spread::{MetricSpread, SpreadSource};
use crate::results::IdSummary;
use crate::score_files::ScoreSets;
use compute::{AllScores, add_spreads};

/// Variation of the other metrics over the repeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AreaSpreads {
    /// Area under the ROC curve.
    pub auroc: MetricSpread,
    /// Average precision, in-distribution positive.
    pub aupr_in: MetricSpread,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: MetricSpread,
    /// AUPR by the trapezoidal rule, in-distribution positive.
    pub aupr_in_trapezoid: MetricSpread,
    /// AUPR by the trapezoidal rule, out-of-distribution positive.
    pub aupr_out_trapezoid: MetricSpread,
}

/// Metrics of one score on one set, or their means over sets, as fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScoreMetrics {
    /// Area under the ROC curve, in-distribution positive.
    pub auroc: f64,
    /// Average precision, in-distribution positive.
    pub aupr_in: f64,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: f64,
    /// AUPR by the trapezoidal rule, in-distribution positive, as OpenOOD and pytorch-ood report it.
    pub aupr_in_trapezoid: f64,
    /// AUPR by the trapezoidal rule, out-of-distribution positive.
    pub aupr_out_trapezoid: f64,
    /// FPR at each true positive rate in each convention of the settings.
    pub fpr: Vec<FprFigure>,
    /// Variation of the areas over the repeats, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<AreaSpreads>,
}

/// Metrics of one score on one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetMetrics {
    /// Name of the score.
    pub score: String,
    /// Name of the out-of-distribution set.
    pub ood: String,
    /// Metrics.
    #[serde(flatten)]
    pub metrics: ScoreMetrics,
    /// Number of in-distribution scores.
    pub n_id: usize,
    /// Number of out-of-distribution scores.
    pub n_ood: usize,
    /// Number of distinct values among both.
    pub distinct: usize,
    /// Why ties decide a part of the metrics, if there are few distinct values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coarse: Option<CoarseScores>,
}

/// Mean metrics of one score over all sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MeanMetrics {
    /// Name of the score.
    pub score: String,
    /// Means.
    #[serde(flatten)]
    pub metrics: ScoreMetrics,
}

/// Repeats behind the spreads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RepeatSummary {
    /// Source of the variation.
    pub over: SpreadSource,
    /// Number of repeats.
    pub n: usize,
    /// Number of images of a set in each subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
}

/// Metrics of scores from anywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScoreReport {
    /// Meaning of a higher score.
    pub higher_is: ScoreDirection,
    /// First true positive rate of the FPR.
    pub tpr: f64,
    /// In-distribution set.
    pub id: IdSummary,
    /// Column that separates the sets, if they come from one table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_column: Option<String>,
    /// One entry for each set and score, sorted by set.
    pub results: Vec<SetMetrics>,
    /// Means over all sets, one entry for each score, if there are several sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub averages: Vec<MeanMetrics>,
    /// Repeats behind the spreads, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatSummary>,
    /// Number of rows without scores, which report an error instead.
    pub skipped: usize,
}

impl ScoreReport {
    /// Computes the metrics of scores.
    ///
    /// ```
    /// use clipn_eval::score_files::ScoreSets;
    /// use clipn_eval::{MetricSettings, ScoreReport};
    ///
    /// let id = ("id".to_owned(), vec![0.9, 0.8, 0.7]);
    /// let ood = vec![("noise".to_owned(), vec![0.2, 0.75])];
    /// let sets = ScoreSets::from_lists(id, ood, "")?;
    /// let report = ScoreReport::compute(&sets, &MetricSettings::default())?;
    /// assert_eq!(report.results[0].metrics.auroc, 5.0 / 6.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EvaluationError::ExternalMetric`] for scores that are not finite, an empty set or a TPR outside
    /// of 0 to 1; [`EvaluationError::TooFewRepeats`] and [`EvaluationError::InvalidSubsetSize`] for the
    /// repeats.
    pub fn compute(sets: &ScoreSets, settings: &MetricSettings) -> Result<Self, EvaluationError> {
        Self::compute_with_progress(sets, settings, &NoProgress)
    }

    /// Same as [`compute`](Self::compute), with reports of the repeats to `progress`.
    ///
    /// # Errors
    /// Same as [`compute`](Self::compute), and [`EvaluationError::RepeatsInterrupted`] if `progress` is
    /// canceled.
    pub fn compute_with_progress(
        sets: &ScoreSets,
        settings: &MetricSettings,
        progress: &dyn Progress,
    ) -> Result<Self, EvaluationError> {
        let all = AllScores::new(sets, settings);
        let mut results = all.results(&all.columns, true)?;
        let mut averages = all.averages(&results);
        let repeat = match settings.repeat {
            None => None,
            Some(repeat) => {
                let repeats = all.repeats(repeat, progress)?;
                add_spreads(&mut results, &mut averages, &repeats, repeat.source());
                Some(RepeatSummary {
                    over: repeat.source(),
                    n: repeat.n,
                    subset: repeat.subset,
                    seed: repeat.seed,
                })
            }
        };
        Ok(Self {
            higher_is: settings.higher_is,
            tpr: settings.tprs.first().copied().unwrap_or(TPR_95),
            id: IdSummary {
                name: sets.id_name.clone(),
                n: all
                    .columns
                    .first()
                    .and_then(|set| set.first())
                    .map_or(0, Vec::len),
                parts: Vec::new(),
            },
            set_column: sets.set_column.clone(),
            results,
            averages,
            repeat,
            skipped: sets.skipped,
        })
    }
}
