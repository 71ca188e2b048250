use serde::Serialize;

use clipn_ood::scores::{Decision, LogitsRow, q, softmax_yes, top_k};

/// What a picture of no class is called where a word must stand.
pub const UNKNOWN: &str = "unknown";

/// One of a picture's best classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Index of the class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// How much "yes" prefers it to the other classes: a share of 1.
    pub p: f32,
    /// How much "yes" outweighs "no" for it alone, 0 to 1.
    pub q: f32,
}

/// The class whose "no" takes most away from the picture: the greatest p·(1 − q).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoVoice {
    /// Index of the class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// How much "yes" prefers the class to the others.
    pub p: f32,
    /// How much "yes" outweighs "no" for it.
    pub q: f32,
    /// p·(1 − q): its part of 1 − ATD, the probability of "none of these".
    pub share: f32,
}

/// What was made of a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// The class's name; none where the picture is unknown.
    pub label: Option<String>,
    /// The class's index.
    pub class: Option<usize>,
    /// The score that decided, in its published unit; NaN where the picture cannot be scored.
    pub score: f64,
    /// The least score that is kept: unknown below.
    pub threshold: f64,
    /// The conformal p-value, where a calibrated threshold decides: the share of pictures of the classes that are scored
    /// no better ([`clipn_ood::calibration::p_value`]).
    pub p_value: Option<f64>,
    /// The best classes by p, the best first.
    pub top: Vec<Candidate>,
    /// The class whose "no" spoke loudest; none where the picture cannot be scored.
    pub no: Option<NoVoice>,
    /// Why, in a sentence.
    pub reason: String,
}

impl Detection {
    /// Whether the picture is of no class.
    pub fn is_unknown(&self) -> bool {
        self.label.is_none()
    }

    /// The class's name, or `unknown`.
    pub fn label_or_unknown(&self) -> &str {
        self.label.as_deref().unwrap_or(UNKNOWN)
    }
}

/// What is told of a picture beside the decision.
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
        let (p, q) = (softmax_yes(row), q(row));
        let label = |class: usize| self.names.get(class).cloned().unwrap_or_default();
        let candidate = |(class, p): (usize, f32)| Candidate {
            class,
            label: label(class),
            p,
            q: q[class],
        };
        let shares = p.iter().zip(&q).map(|(p, q)| p * (1.0 - q)).enumerate();
        let loudest = shares
            .filter(|(_, share)| !share.is_nan())
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let no = loudest.map(|(class, share)| NoVoice {
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
