use serde::{Deserialize, Serialize};

use super::settings::score_name;
use super::{
    CalibrationError, Choice, OodPerformance, Settings, Share, Warning, kept_proportion, p_value,
    threshold, unknown,
};
use crate::metrics::{MetricError, ScoreSet};
use crate::scores::{LogitsRow, Rule, Score, stable};

/// Width of the interval of the kept fraction above which a warning recommends more images.
const WIDE_INTERVAL: f64 = 0.1;

/// Calibrated threshold with its calibration scores, intervals and warnings.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// In-distribution scores in the unit of [`Score::stable`], ascending.
    scores: Vec<f64>,
    threshold: f64,
    facts: Facts,
}

/// Serialized metadata of a calibration. The threshold and the scores are stored separately in full
/// precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    #[serde(with = "score_name")]
    score: &'static dyn Score,
    target_tpr: f64,
    choice: Choice,
    confidence: f64,
    kept: Share,
    threshold_bounds: [Option<f64>; 2],
    unknown: Option<OodPerformance>,
    warnings: Vec<Warning>,
    /// Description of the calibration images, supplied by the caller.
    pictures: String,
}

/// Chooses a threshold from in-distribution scores `id`, `[N]`, and optional out-of-distribution
/// scores `ood`, `[M]`, both in the unit of [`Score::stable`].
///
/// # Errors
/// - [`CalibrationError::Share`] if a setting is not between 0 and 1.
/// - [`CalibrationError::TooFewImages`] if there are too few in-distribution scores for the target.
/// - [`CalibrationError::MissingOodScores`] if [`Choice::Best`] is used without `ood`.
/// - [`CalibrationError::Metric`] if `id` is empty or a score is not finite.
pub fn calibrate(
    id: &[f64],
    ood: &[f64],
    settings: &Settings,
) -> Result<Calibration, CalibrationError> {
    settings.check()?;
    let sorted = sorted(id, ScoreSet::Id)?;
    let unknown_sorted = sorted_or_none(ood)?;
    let (n, confidence) = (sorted.len(), settings.confidence);
    let is_best = settings.choice == Choice::Best;
    let (threshold, kept) = if is_best {
        let threshold = threshold::best(
            &sorted,
            unknown_sorted
                .as_deref()
                .ok_or(CalibrationError::MissingOodScores)?,
        );
        let count = sorted.iter().filter(|score| **score >= threshold).count();
        (threshold, Share::counted(count, n, confidence))
    } else {
        let rank = threshold::rank(n, settings)?;
        let threshold = sorted[rank - 1];
        // Scores equal to the threshold are kept.
        let count = sorted.iter().filter(|score| **score >= threshold).count();
        (
            threshold,
            Share {
                count,
                ..kept_proportion(rank, n, confidence)
            },
        )
    };
    let unknown = unknown_sorted
        .is_some()
        .then(|| unknown::measure(id, ood, threshold, is_best, confidence))
        .transpose()?;
    let mut warnings = Vec::new();
    if kept.upper - kept.lower > WIDE_INTERVAL {
        let advised = recommended_count(settings);
        warnings.push(Warning::Few {
            n,
            lower: kept.lower,
            upper: kept.upper,
            advised,
        });
    }
    if let Some(OodPerformance { auroc, .. }) = unknown
        && auroc < 0.6
    {
        warnings.push(Warning::Blind { auroc });
    }
    let facts = Facts {
        score: settings.score,
        target_tpr: settings.target_tpr,
        choice: settings.choice,
        confidence,
        kept,
        threshold_bounds: if is_best {
            [None; 2]
        } else {
            threshold::bounds(&sorted, settings)
        },
        unknown,
        warnings,
        pictures: String::new(),
    };
    Ok(Calibration {
        scores: sorted,
        threshold,
        facts,
    })
}

/// Number of images for which the interval of the kept fraction is five percentage points wide:
/// (2·1.96)²·t(1 − t)/0.05², rounded up to a multiple of 50.
fn recommended_count(settings: &Settings) -> usize {
    let variance = settings.target_tpr * (1.0 - settings.target_tpr);
    ((3.92 / 0.05_f64).powi(2) * variance / 50.0).ceil() as usize * 50
}

fn sorted(scores: &[f64], set: ScoreSet) -> Result<Vec<f64>, CalibrationError> {
    if scores.is_empty() {
        return Err(MetricError::Empty { set }.into());
    }
    if let Some((index, &value)) = scores
        .iter()
        .enumerate()
        .find(|(_, score)| !score.is_finite())
    {
        return Err(MetricError::NotFinite { set, index, value }.into());
    }
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(sorted)
}

fn sorted_or_none(ood: &[f64]) -> Result<Option<Vec<f64>>, CalibrationError> {
    if ood.is_empty() {
        Ok(None)
    } else {
        sorted(ood, ScoreSet::Ood).map(Some)
    }
}

impl Calibration {
    /// Decision rule: unknown below the threshold.
    pub fn rule(&self) -> Rule {
        Rule::Calibrated {
            score: self.facts.score,
            threshold: self.threshold,
        }
    }

    /// Minimum score of a known image, in the unit of [`Score::stable`].
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Score that the threshold applies to.
    pub fn score(&self) -> &'static dyn Score {
        self.facts.score
    }

    /// Target fraction of in-distribution images to keep.
    pub fn target_tpr(&self) -> f64 {
        self.facts.target_tpr
    }

    /// Method by which the threshold was chosen.
    pub fn choice(&self) -> Choice {
        self.facts.choice
    }

    /// Confidence level of the intervals.
    pub fn confidence(&self) -> f64 {
        self.facts.confidence
    }

    /// Number of calibration images that the threshold keeps, and the interval of the fraction that
    /// it keeps of other in-distribution images.
    pub fn kept(&self) -> Share {
        self.facts.kept
    }

    /// Confidence interval of the threshold that the whole population would yield, in the unit of
    /// [`Score::stable`]. An end is `None` if there are too few images to bound it, and both are
    /// `None` for [`Choice::Best`].
    pub fn threshold_bounds(&self) -> [Option<f64>; 2] {
        self.facts.threshold_bounds
    }

    /// Performance on the out-of-distribution images, if there were any.
    pub fn unknown(&self) -> Option<&OodPerformance> {
        self.facts.unknown.as_ref()
    }

    /// Warnings about the calibration set and the score.
    pub fn warnings(&self) -> &[Warning] {
        &self.facts.warnings
    }

    /// Number of in-distribution images.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there are no in-distribution images; always `false`, as [`calibrate`] rejects an
    /// empty set.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// In-distribution scores in the unit of [`Score::stable`], ascending.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Description of the calibration images, as passed to [`Calibration::with_notes`].
    pub fn pictures(&self) -> &str {
        &self.facts.pictures
    }

    /// Sets the description of the calibration images and adds warnings, for example those of
    /// [`super::check_calibration_set`].
    #[must_use]
    pub fn with_notes(mut self, description: impl Into<String>, warnings: Vec<Warning>) -> Self {
        self.facts.pictures = description.into();
        self.facts.warnings.extend(warnings);
        self
    }

    /// Computes the conformal p-value of a score in the unit of [`Score::stable`]; see [`p_value`].
    pub fn p_value(&self, score: f64) -> f64 {
        p_value(&self.scores, score)
    }

    /// Computes the conformal p-value of an image from its logits; see [`p_value`].
    pub fn p_value_for_logits(&self, row: LogitsRow<'_, f32>) -> f64 {
        self.p_value(stable(self.facts.score, row))
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Restores a stored calibration and validates it.
    pub fn from_parts(
        scores: Vec<f64>,
        threshold: f64,
        facts: Facts,
    ) -> Result<Self, CalibrationError> {
        let corrupt = |reason: &str| CalibrationError::Damaged {
            reason: reason.to_owned(),
        };
        if scores.is_empty()
            || !threshold.is_finite()
            || scores.iter().any(|score| !score.is_finite())
        {
            return Err(corrupt("empty or non-finite scores or threshold"));
        }
        if scores.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(corrupt("scores are not sorted"));
        }
        Settings {
            score: facts.score,
            target_tpr: facts.target_tpr,
            choice: facts.choice,
            confidence: facts.confidence,
        }
        .check()?;
        Ok(Self {
            scores,
            threshold,
            facts,
        })
    }
}
