use serde::{Deserialize, Serialize};

use super::settings::score_name;
use super::{
    CalibrationError, Choice, Settings, Share, UnknownPictures, Warning, kept_share, p_value,
    threshold, unknown,
};
use crate::metrics::{MetricError, ScoreSet};
use crate::scores::{LogitsRow, Rule, Score, stable};

/// The width of the kept share's interval from which on pictures are few.
const WIDE: f64 = 0.1;

/// A threshold, the scores that it comes from, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// The in-distribution scores in the unit of [`Score::stable`], sorted from the lowest.
    scores: Vec<f64>,
    threshold: f64,
    facts: Facts,
}

/// What a calibration tells beside its numbers of full precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    #[serde(with = "score_name")]
    score: &'static dyn Score,
    target_tpr: f64,
    choice: Choice,
    confidence: f64,
    kept: Share,
    threshold_bounds: [Option<f64>; 2],
    unknown: Option<UnknownPictures>,
    warnings: Vec<Warning>,
    /// What the pictures were, in the words of who calibrated.
    pictures: String,
}

/// Chooses a threshold by the in-distribution scores `id` `[N]` and, where there are any, the scores `ood` `[M]` of pictures
/// of no class, both in the unit of [`Score::stable`].
///
/// # Errors
/// Settings that are no shares, too few pictures, [`Choice::Best`] without examples of the unknown, or scores that are not
/// finite.
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
                .ok_or(CalibrationError::NoUnknown)?,
        );
        let count = sorted.iter().filter(|score| **score >= threshold).count();
        (threshold, Share::counted(count, n, confidence))
    } else {
        let rank = threshold::rank(n, settings)?;
        let threshold = sorted[rank - 1];
        // Scores that equal the threshold are kept with it.
        let count = sorted.iter().filter(|score| **score >= threshold).count();
        (
            threshold,
            Share {
                count,
                ..kept_share(rank, n, confidence)
            },
        )
    };
    let unknown = unknown_sorted
        .is_some()
        .then(|| unknown::measure(id, ood, threshold, is_best, confidence))
        .transpose()?;
    let mut warnings = Vec::new();
    if kept.upper - kept.lower > WIDE {
        let advised = advised(settings);
        warnings.push(Warning::Few {
            n,
            lower: kept.lower,
            upper: kept.upper,
            advised,
        });
    }
    if let Some(UnknownPictures { auroc, .. }) = unknown
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

/// Pictures with which the kept share's interval is five points wide: (2·1.96)²·t(1 − t)/0.05², on the next fifty.
fn advised(settings: &Settings) -> usize {
    let spread = settings.target_tpr * (1.0 - settings.target_tpr);
    ((3.92 / 0.05_f64).powi(2) * spread / 50.0).ceil() as usize * 50
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
    /// What decides: unknown below the threshold.
    pub fn rule(&self) -> Rule {
        Rule::Calibrated {
            score: self.facts.score,
            threshold: self.threshold,
        }
    }

    /// The least score that is kept, in the unit of [`Score::stable`].
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The score that decides.
    pub fn score(&self) -> &'static dyn Score {
        self.facts.score
    }

    /// The share of in-distribution pictures that was to be kept.
    pub fn target_tpr(&self) -> f64 {
        self.facts.target_tpr
    }

    /// How the threshold was chosen.
    pub fn choice(&self) -> Choice {
        self.facts.choice
    }

    /// The confidence of the intervals.
    pub fn confidence(&self) -> f64 {
        self.facts.confidence
    }

    /// The in-distribution pictures that the threshold keeps, and the interval of the share that it keeps of others.
    pub fn kept(&self) -> Share {
        self.facts.kept
    }

    /// Between which scores the threshold would be found with all pictures that there are, with the confidence; in the
    /// unit of [`Score::stable`], and `None` at an end that so few pictures do not bound.
    pub fn threshold_bounds(&self) -> [Option<f64>; 2] {
        self.facts.threshold_bounds
    }

    /// How it does on examples of the unknown, where there were any.
    pub fn unknown(&self) -> Option<&UnknownPictures> {
        self.facts.unknown.as_ref()
    }

    /// What should be known before it is trusted.
    pub fn warnings(&self) -> &[Warning] {
        &self.facts.warnings
    }

    /// Number of in-distribution pictures.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there is none, which [`calibrate`] does not allow.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// The in-distribution scores in the unit of [`Score::stable`], sorted from the lowest.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// What the pictures were.
    pub fn pictures(&self) -> &str {
        &self.facts.pictures
    }

    /// Adds warnings, of [`super::examine`] for instance, and says what the pictures were.
    #[must_use]
    pub fn with_notes(mut self, pictures: impl Into<String>, warnings: Vec<Warning>) -> Self {
        self.facts.pictures = pictures.into();
        self.facts.warnings.extend(warnings);
        self
    }

    /// The conformal p-value of a score in the unit of [`Score::stable`]: see [`p_value`].
    pub fn p_value(&self, score: f64) -> f64 {
        p_value(&self.scores, score)
    }

    /// The conformal p-value of a picture.
    pub fn p_value_of(&self, row: LogitsRow<'_, f32>) -> f64 {
        self.p_value(stable(self.facts.score, row))
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Puts a stored calibration together again.
    pub fn from_parts(
        scores: Vec<f64>,
        threshold: f64,
        facts: Facts,
    ) -> Result<Self, CalibrationError> {
        let damaged = |reason: &str| CalibrationError::Damaged {
            reason: reason.to_owned(),
        };
        if scores.is_empty()
            || !threshold.is_finite()
            || scores.iter().any(|score| !score.is_finite())
        {
            return Err(damaged("its scores are not finite numbers"));
        }
        if scores.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(damaged("its scores are not sorted"));
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
