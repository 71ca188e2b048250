use serde::Serialize;

use clipn_ood::scores::{Decision, LogitsRow, agreement, softmax_yes, top_k};

/// Label of an image of no class, for output that requires a text.
pub const UNKNOWN: &str = "unknown";

/// One of the top classes of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Softmax probability p of the class among the "yes" logits, 0 to 1.
    pub p: f32,
    /// Probability q of "yes" against "no" for the class alone, 0 to 1.
    pub q: f32,
}

/// Class with the largest contribution p·(1 − q) to the probability of "none of these".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StrongestNo {
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Softmax probability p of the class among the "yes" logits, 0 to 1.
    pub p: f32,
    /// Probability q of "yes" against "no" for the class alone, 0 to 1.
    pub q: f32,
    /// p·(1 − q): the contribution of the class to 1 − ATD, the probability of "none of these".
    pub share: f32,
}

/// Result of classifying one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// Name of the class; `None` for an unknown image.
    pub label: Option<String>,
    /// Index of the class; `None` for an unknown image.
    pub class: Option<usize>,
    /// Score that decided, in its published unit; NaN if the image cannot be scored.
    pub score: f64,
    /// Minimum score of a known image; an image with a lower score is unknown.
    pub threshold: f64,
    /// Conformal p-value, only with a calibrated threshold: (1 + the number of calibration images
    /// with the same or a lower score) / (n + 1). See [`clipn_ood::calibration::p_value`].
    pub p_value: Option<f64>,
    /// Top classes by p, in descending order.
    pub top: Vec<Candidate>,
    /// Class with the largest contribution to "none of these"; `None` if the image cannot be
    /// scored.
    pub no: Option<StrongestNo>,
    /// Explanation of the decision, as one sentence in English.
    pub reason: String,
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
pub(super) struct Told<'a> {
    pub(super) names: &'a [String],
    pub(super) top: usize,
}

impl Told<'_> {
    pub(super) fn detection(
        &self,
        row: LogitsRow<'_, f32>,
        decision: Decision,
        p_value: Option<f64>,
    ) -> Detection {
        let (p, q) = (softmax_yes(row), agreement(row));
        let label = |class: usize| self.names.get(class).cloned().unwrap_or_default();
        let candidate = |(class, p): (usize, f32)| Candidate {
            class,
            label: label(class),
            p,
            q: q[class],
        };
        let contributions = p.iter().zip(&q).map(|(p, q)| p * (1.0 - q)).enumerate();
        let strongest = contributions
            .filter(|(_, share)| !share.is_nan())
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let no = strongest.map(|(class, share)| StrongestNo {
            class,
            label: label(class),
            p: p[class],
            q: q[class],
            share,
        });
        Detection {
            label: decision.label.map(label),
            class: decision.label,
            score: decision.score,
            threshold: decision.threshold,
            p_value,
            top: top_k(&p, self.top).into_iter().map(candidate).collect(),
            no,
            reason: String::new(),
        }
    }
}
