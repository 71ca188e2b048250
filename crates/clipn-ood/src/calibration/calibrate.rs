use serde::{Deserialize, Serialize};

use super::{
    CalibrationError, CalibrationSettings, CalibrationWarning, OodPerformance, Proportion,
    ThresholdMethod, kept_proportion, p_value, published_threshold, threshold,
};
use crate::metrics::{MetricError, ScoreSet};
use crate::scores::{DecisionRule, LogitsRow, Score, stable};

/// Width of the interval of the kept fraction above which a warning recommends more images.
const WIDE_INTERVAL: f64 = 0.1;

/// Width of that interval with the recommended number of images.
const NARROW_INTERVAL: f64 = 0.05;

/// Number of images at which the search for the recommended number ends.
const MAX_RECOMMENDED: usize = 1_000_000;

/// Calibrated threshold with its calibration scores, intervals and warnings.
///
/// ```
/// use clipn_ood::calibration::{CalibrationSettings, calibrate};
/// use clipn_ood::scores::LogitsRow;
///
/// let scores: Vec<f64> = (0..100).map(|i| -f64::from(i) / 10.0).collect();
/// let calibration = calibrate(&scores, &[], &CalibrationSettings::default())?;
/// // ATD of this row is far below the threshold.
/// let row = LogitsRow::new(&[20.0, 18.0], &[40.0, 38.0]);
/// assert_eq!(calibration.rule().decide(row).label, None);
/// assert_eq!(calibration.p_value_for_logits(row), 1.0 / 101.0);
/// # Ok::<(), clipn_ood::calibration::CalibrationError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// In-distribution scores in the unit of [`Score::stable`], ascending.
    scores: Vec<f64>,
    threshold: f64,
    metadata: CalibrationMetadata,
}

/// Serialized metadata of a calibration. The threshold and the scores are stored separately in full
/// precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationMetadata {
    score: &'static dyn Score,
    target_tpr: f64,
    #[serde(rename = "choice")]
    method: ThresholdMethod,
    confidence: f64,
    kept: Proportion,
    #[serde(rename = "threshold_bounds")]
    threshold_interval: [Option<f64>; 2],
    #[serde(rename = "unknown")]
    ood_performance: Option<OodPerformance>,
    warnings: Vec<CalibrationWarning>,
    /// Description of the calibration images, supplied by the caller.
    #[serde(rename = "pictures")]
    description: String,
}

/// Figures of a calibration, with scores in their published unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CalibrationSummary<'a> {
    /// Name of the score.
    pub score: &'static str,
    /// Threshold.
    pub threshold: f64,
    /// Interval of the threshold for the whole population, at the confidence.
    #[serde(rename = "threshold_bounds")]
    pub threshold_interval: [Option<f64>; 2],
    /// How the threshold was chosen.
    #[serde(rename = "choice")]
    pub method: ThresholdMethod,
    /// Target true positive rate, a fraction.
    pub target_tpr: f64,
    /// Confidence of intervals and of the guarantee, a fraction.
    pub confidence: f64,
    /// Description of the images.
    #[serde(rename = "pictures")]
    pub description: &'a str,
    /// Number of in-distribution images N.
    pub n: usize,
    /// In-distribution images that the threshold keeps.
    pub kept: Proportion,
    /// Performance on out-of-distribution images, if there were any.
    #[serde(rename = "unknown")]
    pub ood_performance: Option<&'a OodPerformance>,
    /// P-value of an image below all: 1 / (N + 1).
    pub smallest_p_value: f64,
    /// Warnings about the set of images.
    pub warnings: Vec<String>,
}

/// Chooses a threshold from in-distribution scores `id`, `[N]`, and optional out-of-distribution
/// scores `ood`, `[M]`, both in the unit of [`Score::stable`].
///
/// # Errors
/// - [`CalibrationError::OutOfRange`] if a setting is not between 0 and 1.
/// - [`CalibrationError::TooFewImages`] if there are too few in-distribution scores for the target.
/// - [`CalibrationError::MissingOodScores`] if [`ThresholdMethod::Best`] is used without `ood`.
/// - [`CalibrationError::Metric`] if `id` is empty or a score is not finite.
pub fn calibrate(
    id: &[f64],
    ood: &[f64],
    settings: &CalibrationSettings,
) -> Result<Calibration, CalibrationError> {
    settings.validate()?;
    let sorted = validate_and_sort(id, ScoreSet::Id)?;
    let ood_sorted = validate_and_sort_optional(ood)?;
    let (n, confidence) = (sorted.len(), settings.confidence);
    let is_best = settings.method == ThresholdMethod::Best;
    let (threshold, kept) = if is_best {
        let threshold = threshold::maximize_youden_index(
            &sorted,
            ood_sorted
                .as_deref()
                .ok_or(CalibrationError::MissingOodScores)?,
        );
        let count = sorted.iter().filter(|score| **score >= threshold).count();
        (threshold, Proportion::clopper_pearson(count, n, confidence))
    } else {
        let rank = threshold::rank(n, settings)?;
        let threshold = sorted[rank - 1];
        let kept = kept_proportion(rank, n, confidence);
        // Scores equal to the threshold are kept: with such, more than those of the rank.
        let count = sorted.iter().filter(|score| **score >= threshold).count();
        let upper = match count > kept.count {
            true => Proportion::clopper_pearson(count, n, confidence).upper,
            false => kept.upper,
        };
        (
            threshold,
            Proportion {
                count,
                upper,
                ..kept
            },
        )
    };
    let ood_performance = if ood.is_empty() {
        None
    } else {
        let performance = OodPerformance::new(id, ood, threshold, confidence)?;
        Some(if is_best {
            performance.with_cross_validation(id, ood)
        } else {
            performance
        })
    };
    let mut warnings = Vec::new();
    if kept.upper - kept.lower > WIDE_INTERVAL {
        warnings.push(CalibrationWarning::FewImages {
            images: n,
            lower: kept.lower,
            upper: kept.upper,
            recommended: recommended_count(settings, kept.rate()),
        });
    }
    if let Some(OodPerformance { auroc, .. }) = ood_performance
        && auroc < 0.6
    {
        warnings.push(CalibrationWarning::PoorSeparation { auroc });
    }
    let metadata = CalibrationMetadata {
        score: settings.score,
        target_tpr: settings.target_tpr,
        method: settings.method,
        confidence,
        kept,
        threshold_interval: if is_best {
            [None; 2]
        } else {
            threshold::confidence_interval(&sorted, settings)
        },
        ood_performance,
        warnings,
        description: String::new(),
    };
    Ok(Calibration {
        scores: sorted,
        threshold,
        metadata,
    })
}

/// Number of images for which the interval of the kept fraction is at most five percentage points
/// wide, a multiple of 50. [`ThresholdMethod::Best`] has no target, so that the interval depends on
/// the fraction `rate` that its threshold keeps.
fn recommended_count(settings: &CalibrationSettings, rate: f64) -> usize {
    let is_enough = |fifties: usize| {
        let n = 50 * fifties;
        let kept = if settings.method == ThresholdMethod::Best {
            let count = (rate * n as f64).round() as usize;
            Some(Proportion::clopper_pearson(count, n, settings.confidence))
        } else {
            let rank = threshold::rank(n, settings).ok();
            rank.map(|rank| kept_proportion(rank, n, settings.confidence))
        };
        kept.is_some_and(|kept| kept.upper - kept.lower <= NARROW_INTERVAL)
    };
    // The width falls with n but for rounding of the rank: bisect for the first multiple.
    let (mut low, mut high) = (0, 1);
    while !is_enough(high) && high < MAX_RECOMMENDED / 50 {
        (low, high) = (high, 2 * high);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    50 * high
}

fn validate_and_sort(scores: &[f64], set: ScoreSet) -> Result<Vec<f64>, CalibrationError> {
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

fn validate_and_sort_optional(ood: &[f64]) -> Result<Option<Vec<f64>>, CalibrationError> {
    if ood.is_empty() {
        Ok(None)
    } else {
        validate_and_sort(ood, ScoreSet::Ood).map(Some)
    }
}

impl Calibration {
    /// Decision rule: unknown below the threshold.
    pub fn rule(&self) -> DecisionRule {
        DecisionRule::Calibrated {
            score: self.metadata.score,
            threshold: self.threshold,
        }
    }

    /// Decision rule at another threshold, in the published unit, in the arithmetic of the calibration: the published
    /// threshold gives the calibrated decisions, also where `f32` scores saturate. `None` for a threshold that the score
    /// cannot have, such as a negative probability.
    pub fn rule_at(&self, published: f64) -> Option<DecisionRule> {
        let score = self.metadata.score;
        let threshold = if published == self.published_threshold() {
            self.threshold
        } else {
            score.to_stable(published)
        };
        (!threshold.is_nan()).then_some(DecisionRule::Calibrated { score, threshold })
    }

    /// Minimum score of a known image, in the unit of [`Score::stable`].
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Score that the threshold applies to.
    pub fn score(&self) -> &'static dyn Score {
        self.metadata.score
    }

    /// Target fraction of in-distribution images to keep.
    pub fn target_tpr(&self) -> f64 {
        self.metadata.target_tpr
    }

    /// Method by which the threshold was chosen.
    pub fn method(&self) -> ThresholdMethod {
        self.metadata.method
    }

    /// Confidence level of the intervals.
    pub fn confidence(&self) -> f64 {
        self.metadata.confidence
    }

    /// Number of calibration images that the threshold keeps, and the interval of the fraction that
    /// it keeps of other in-distribution images.
    pub fn kept(&self) -> Proportion {
        self.metadata.kept
    }

    /// Confidence interval of the threshold that the whole population would yield, in the unit of
    /// [`Score::stable`]. An end is `None` if there are too few images to bound it, and both are
    /// `None` for [`ThresholdMethod::Best`].
    pub fn threshold_interval(&self) -> [Option<f64>; 2] {
        self.metadata.threshold_interval
    }

    /// Performance on the out-of-distribution images, if there were any.
    pub fn ood_performance(&self) -> Option<&OodPerformance> {
        self.metadata.ood_performance.as_ref()
    }

    /// Warnings about the calibration set and the score.
    pub fn warnings(&self) -> &[CalibrationWarning] {
        &self.metadata.warnings
    }

    /// Number of in-distribution images, at least one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a calibration without images does not exist"
    )]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// In-distribution scores in the unit of [`Score::stable`], ascending.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Returns the threshold in the published unit; see [`published_threshold`].
    pub fn published_threshold(&self) -> f64 {
        published_threshold(self.score(), self.threshold())
    }

    /// Description of the calibration images, as passed to
    /// [`Calibration::with_description`].
    pub fn description(&self) -> &str {
        &self.metadata.description
    }

    /// Sets the description of the calibration images, such as the path of their directory.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.metadata.description = description.into();
        self
    }

    /// Adds warnings, for example those of [`super::check_calibration_set`].
    #[must_use]
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = CalibrationWarning>) -> Self {
        self.metadata.warnings.extend(warnings);
        self
    }

    /// Computes the conformal p-value of a score in the unit of [`Score::stable`]; see [`p_value`].
    pub fn p_value(&self, score: f64) -> f64 {
        p_value(&self.scores, score)
    }

    /// Computes the conformal p-value of an image from its logits; see [`p_value`]. The row must have
    /// the negatives of the calibration images if the score uses them, because the p-value of a row
    /// that cannot be scored is the minimum.
    pub fn p_value_for_logits(&self, row: LogitsRow<'_, f32>) -> f64 {
        self.p_value(stable(self.metadata.score, row))
    }

    /// The figures for people and programs, with scores in their published unit.
    ///
    /// ```
    /// use clipn_ood::calibration::{CalibrationSettings, calibrate};
    /// use clipn_ood::scores::MaxLogit;
    ///
    /// let scores: Vec<f64> = (0..100).map(f64::from).collect();
    /// let settings = CalibrationSettings::default().with_score(&MaxLogit);
    /// let calibration = calibrate(&scores, &[], &settings)?;
    /// let summary = calibration.summary();
    /// assert_eq!((summary.score, summary.n), ("maxlogit", 100));
    /// # Ok::<(), clipn_ood::calibration::CalibrationError>(())
    /// ```
    pub fn summary(&self) -> CalibrationSummary<'_> {
        let score = self.score();
        let published = |value: f64| published_threshold(score, value);
        CalibrationSummary {
            score: score.name(),
            threshold: published(self.threshold()),
            threshold_interval: self.threshold_interval().map(|bound| bound.map(published)),
            method: self.method(),
            target_tpr: self.target_tpr(),
            confidence: self.confidence(),
            description: self.description(),
            n: self.len(),
            kept: self.kept(),
            ood_performance: self.ood_performance(),
            smallest_p_value: self.p_value(f64::NEG_INFINITY),
            warnings: self.warnings().iter().map(ToString::to_string).collect(),
        }
    }

    /// Everything but the threshold and the scores, for storage; see [`Calibration::from_parts`].
    pub fn metadata(&self) -> &CalibrationMetadata {
        &self.metadata
    }

    /// Restores a stored calibration from its scores, its threshold and its metadata.
    ///
    /// # Errors
    /// [`CalibrationError::Corrupt`] if the scores are empty, not sorted or not finite or the
    /// threshold is not finite, and [`CalibrationError::OutOfRange`] if a stored setting is not
    /// between 0 and 1.
    pub fn from_parts(
        scores: Vec<f64>,
        threshold: f64,
        metadata: CalibrationMetadata,
    ) -> Result<Self, CalibrationError> {
        let corrupt = |reason: &str| CalibrationError::Corrupt {
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
        CalibrationSettings {
            score: metadata.score,
            target_tpr: metadata.target_tpr,
            method: metadata.method,
            confidence: metadata.confidence,
        }
        .validate()?;
        Ok(Self {
            scores,
            threshold,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A threshold among equal scores keeps them all, so that nothing speaks against a larger share.
    #[test]
    fn the_interval_with_equal_scores_has_the_share_of_the_images() {
        let kept = |scores: &[f64]| {
            calibrate(scores, &[], &CalibrationSettings::default())
                .unwrap()
                .kept()
        };
        let all = kept(&[0.3; 300]);
        assert_eq!((all.count, all.upper), (300, 1.0));
        let different: Vec<f64> = (0..300).map(f64::from).collect();
        let usual = kept(&different);
        assert_eq!(all.lower, usual.lower);
        // 5 below, 50 equal ones at the threshold.
        let some: Vec<f64> = (0..300)
            .map(|i| if i < 5 { 0.1 } else { f64::from(i.max(55)) })
            .collect();
        let some = kept(&some);
        assert_eq!(some.count, 295);
        assert!(
            some.lower < some.rate() && some.rate() < some.upper && some.upper < 1.0,
            "{some:?}"
        );
    }

    /// Bundles store calibrations by these names.
    #[test]
    fn metadata_is_stored_and_restored() {
        let scores: Vec<f64> = (0..300).map(|i| -f64::from(i)).collect();
        let ood: Vec<f64> = (0..20).map(|i| -500.0 - f64::from(i)).collect();
        let calibration = calibrate(&scores, &ood, &CalibrationSettings::default())
            .unwrap()
            .with_description("photos");
        let json = serde_json::to_value(calibration.metadata()).unwrap();
        let mut keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "choice",
                "confidence",
                "kept",
                "pictures",
                "score",
                "target_tpr",
                "threshold_bounds",
                "unknown",
                "warnings"
            ]
        );
        assert_eq!(
            (&json["score"], &json["choice"], &json["pictures"]),
            (&"atd".into(), &"on-average".into(), &"photos".into())
        );
        assert_eq!(json["kept"]["of"], 300);
        let restored = Calibration::from_parts(
            calibration.scores().to_vec(),
            calibration.threshold(),
            serde_json::from_value(json).unwrap(),
        )
        .unwrap();
        assert_eq!(restored.kept().count, calibration.kept().count);
        assert_eq!(restored.scores(), calibration.scores());
    }

    /// The printed threshold decides as the calibration does, also where `f32` scores are all 1.
    #[test]
    fn a_published_threshold_gives_the_calibrated_rule() {
        use crate::scores::Ctw;
        let settings = CalibrationSettings {
            score: &Ctw,
            ..CalibrationSettings::default()
        };
        let scores: Vec<f64> = (0..300).map(|i| -1e-15 * f64::from(i)).collect();
        let calibration = calibrate(&scores, &[], &settings).unwrap();
        let published = calibration.published_threshold();
        assert_eq!(calibration.rule_at(published), Some(calibration.rule()));
        let half = DecisionRule::Calibrated {
            score: &Ctw,
            threshold: 0.5_f64.ln(),
        };
        assert_eq!(calibration.rule_at(0.5), Some(half));
        assert_eq!(calibration.rule_at(-1.0), None);
    }

    #[test]
    fn corrupt_parts_are_rejected() {
        let scores: Vec<f64> = (0..30).map(f64::from).collect();
        let calibration = calibrate(&scores, &[], &CalibrationSettings::default()).unwrap();
        let restore = |scores: Vec<f64>, threshold| {
            Calibration::from_parts(scores, threshold, calibration.metadata().clone())
        };
        assert_eq!(restore(scores.clone(), 1.0).unwrap().threshold(), 1.0);
        for (scores, threshold) in [
            (Vec::new(), 1.0),
            (vec![0.0, f64::INFINITY], 1.0),
            (vec![1.0, 0.0], 1.0),
            (scores, f64::NAN),
        ] {
            assert!(matches!(
                restore(scores, threshold),
                Err(CalibrationError::Corrupt { .. })
            ));
        }
    }
}
