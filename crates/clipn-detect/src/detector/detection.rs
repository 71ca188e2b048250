use clipn_ood::scores::{Decision, LogitsRow, agreement, predict, softmax_yes, top_k};
use serde::{Deserialize, Serialize};

use super::Evidence;

/// Label of an image of no class, for output that requires a text.
pub const UNKNOWN: &str = "unknown";

/// One of the top classes of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Softmax probability p of the class among the "yes" logits, 0 to 1.
    #[serde(rename = "p")]
    pub probability: f32,
    /// Probability q of "yes" against "no" for the class alone, 0 to 1; `None` if the model has not
    /// learned "no".
    #[serde(rename = "q")]
    pub agreement: Option<f32>,
}

impl Candidate {
    /// Creates a candidate of a class with its probabilities p and, if there is one, q.
    pub fn new(
        class: usize,
        label: impl Into<String>,
        probability: f32,
        agreement: impl Into<Option<f32>>,
    ) -> Self {
        Self {
            class,
            label: label.into(),
            probability,
            agreement: agreement.into(),
        }
    }
}

/// Class with the largest contribution p·(1 − q) to the probability of "none of these".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StrongestNo {
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Softmax probability p of the class among the "yes" logits, 0 to 1.
    #[serde(rename = "p")]
    pub probability: f32,
    /// Probability q of "yes" against "no" for the class alone, 0 to 1.
    #[serde(rename = "q")]
    pub agreement: f32,
    /// p·(1 − q): the contribution of the class to 1 − ATD, the probability of "none of these".
    #[serde(rename = "share")]
    pub contribution: f32,
}

impl StrongestNo {
    /// Computes the contribution p·(1 − q) of a class; `None` without q.
    pub fn of(candidate: Candidate) -> Option<Self> {
        let Candidate {
            class,
            label,
            probability,
            agreement,
        } = candidate;
        let agreement = agreement?;
        Some(Self {
            class,
            label,
            probability,
            agreement,
            contribution: probability * (1.0 - agreement),
        })
    }
}

/// The negative that an image resembles most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NearestNegative {
    /// Text of the negative, such as `a hand`.
    pub text: String,
    /// Softmax probability of the negative among the classes and all negatives, 0 to 1.
    #[serde(rename = "p")]
    pub probability: f32,
}

impl NearestNegative {
    /// Creates the description of a negative.
    pub fn new(text: impl Into<String>, probability: f32) -> Self {
        Self {
            text: text.into(),
            probability,
        }
    }

    /// Finds the negative with the highest logit, the first of equal ones; `None` without negatives. All
    /// logits are finite.
    fn find(words: &[String], row: LogitsRow<'_, f32>) -> Option<Self> {
        let negatives = row.negatives.logits;
        let best = predict(LogitsRow::new(negatives, &[]));
        let (text, &logit) = (words.get(best)?, negatives.get(best)?);
        let top = row.yes.iter().copied().fold(logit, f32::max);
        let sum = |logits: &[f32]| logits.iter().map(|l| (l - top).exp()).sum::<f32>();
        let total = sum(row.yes) + sum(negatives);
        Some(Self::new(text, (logit - top).exp() / total))
    }
}

/// Result of classifying one image.
///
/// It serializes as described on the [module page](crate::detector#serialized-form).
///
/// ```
/// use clipn_detect::detector::Detection;
///
/// let json = r#"{
///     "schema_version": 2, "label": null, "class": null, "unknown": true, "score": 0.25,
///     "threshold": 0.5, "p_value": null, "top": [{"class": 0, "label": "cat", "p": 0.75, "q": 0.5}],
///     "no": {"class": 0, "label": "cat", "p": 0.75, "q": 0.5, "share": 0.375}, "reason": "…"
/// }"#;
/// let detection: Detection = serde_json::from_str(json)?;
/// assert!(detection.is_unknown());
/// assert_eq!(detection.top[0].probability, 0.75);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Detection {
    /// Name of the class; `None` for an unknown image.
    pub label: Option<String>,
    /// Index of the class; `None` for an unknown image.
    pub class: Option<usize>,
    /// Score that decided, in its published unit.
    pub score: f64,
    /// Minimum score of a known image; an image with a lower score is unknown.
    pub threshold: f64,
    /// Conformal p-value, only with a calibrated threshold: (1 + the number of calibration images
    /// with the same or a lower score) / (n + 1). See [`clipn_ood::calibration::p_value`].
    pub p_value: Option<f64>,
    /// Top classes by p, in descending order.
    pub top: Vec<Candidate>,
    /// Class with the largest contribution to "none of these"; `None` if the model has not learned "no".
    pub strongest_no: Option<StrongestNo>,
    /// Negative that the image resembles most, of known images too; `None` without negatives.
    pub nearest_negative: Option<NearestNegative>,
    /// Explanation of the decision, as one sentence in English.
    pub reason: String,
    /// Where the class, its "no" and the negatives are seen; only with
    /// [`Detector::with_evidence`](crate::detector::Detector::with_evidence).
    pub evidence: Option<Evidence>,
}

impl Detection {
    /// Whether the image belongs to none of the classes.
    pub fn is_unknown(&self) -> bool {
        self.label.is_none()
    }

    /// Returns the name of the class, or [`UNKNOWN`].
    pub fn label_or_unknown(&self) -> &str {
        self.label.as_deref().unwrap_or(UNKNOWN)
    }
}

/// Data beside the decision to create a [`Detection`] from.
pub(super) struct DetectionContext<'a> {
    pub(super) class_names: &'a [String],
    pub(super) negatives: Option<&'a [String]>,
    pub(super) top_k: usize,
}

impl DetectionContext<'_> {
    pub(super) fn detection(
        &self,
        row: LogitsRow<'_, f32>,
        decision: Decision,
        p_value: Option<f64>,
    ) -> Detection {
        let (probabilities, agreements) = (softmax_yes(row), agreement(row));
        let label = |class: usize| self.class_names.get(class).cloned().unwrap_or_default();
        let has_no = !row.no.is_empty();
        let candidate = |class: usize| {
            let agreement = has_no.then(|| agreements[class]);
            Candidate::new(class, label(class), probabilities[class], agreement)
        };
        // The first of equal contributions wins.
        let strongest_no = (0..probabilities.len())
            .map(|class| (class, probabilities[class] * (1.0 - agreements[class])))
            .filter(|(_, contribution)| !contribution.is_nan())
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
            .and_then(|(class, _)| StrongestNo::of(candidate(class)));
        Detection {
            label: decision.label.map(label),
            class: decision.label,
            score: decision.score,
            threshold: decision.threshold,
            p_value,
            top: top_k(&probabilities, self.top_k)
                .into_iter()
                .map(|(class, _)| candidate(class))
                .collect(),
            strongest_no,
            nearest_negative: self
                .negatives
                .and_then(|words| NearestNegative::find(words, row)),
            reason: String::new(),
            evidence: None,
        }
    }
}
