use clipn::detector::{Candidate, Detection, NoVoice};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::ErrorBody;

/// The answer to pictures.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassifyAnswer {
    /// One for each picture, in their order.
    pub(super) results: Vec<PictureResult>,
    /// Which model.
    pub(super) model: String,
    /// Time from the request's last byte to the answer.
    pub(super) duration_ms: f64,
}

/// What a picture is, or why that cannot be told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PictureResult {
    /// The picture's place in the request, from 0.
    pub(super) index: usize,
    /// The request's own name for it: its `id`, or its file's name.
    pub(super) id: Option<String>,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// A decision or an error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    Decided(Decided),
    Failed(Failed),
}

/// A picture without a decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failed {
    /// Why.
    pub(super) error: ErrorBody,
}

/// What was decided on a picture.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decided {
    /// The class's name; null where the picture is unknown.
    label: Option<String>,
    /// The class's place among the classes; null where the picture is unknown.
    class: Option<usize>,
    /// Whether the picture is of none of the classes.
    unknown: bool,
    /// The score that decided; null where the picture cannot be scored.
    score: Option<f64>,
    /// The least score that is kept: the picture is unknown below.
    threshold: Option<f64>,
    /// Where a calibrated threshold decides: the share of pictures of the classes that are scored no better.
    p_value: Option<f64>,
    /// The best classes by p, the best first.
    top: Vec<ClassShare>,
    /// The class whose "no" spoke loudest.
    no: Option<LoudestNo>,
    /// Why, in a sentence.
    reason: String,
}

/// One of the best classes of a picture.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassShare {
    /// The class's place among the classes.
    class: usize,
    /// Its name.
    label: String,
    /// How much "yes" prefers it to the other classes: a share of 1.
    p: f32,
    /// How much "yes" outweighs "no" for it alone, 0 to 1.
    q: f32,
}

/// The class whose "no" takes most away from a picture.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoudestNo {
    /// The class's place among the classes.
    class: usize,
    /// Its name.
    label: String,
    /// How much "yes" prefers it to the other classes.
    p: f32,
    /// How much "yes" outweighs "no" for it alone.
    q: f32,
    /// p·(1 − q): its part of the probability of "none of these".
    share: f32,
}

impl From<Detection> for Decided {
    fn from(detection: Detection) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        let Detection {
            label,
            class,
            score,
            threshold,
            p_value,
            top,
            no,
            reason,
        } = detection;
        let share = |Candidate { class, label, p, q }| ClassShare { class, label, p, q };
        let loudest = |NoVoice {
                           class,
                           label,
                           p,
                           q,
                           share,
                       }| LoudestNo {
            class,
            label,
            p,
            q,
            share,
        };
        Self {
            unknown: label.is_none(),
            label,
            class,
            score: finite(score),
            threshold: finite(threshold),
            p_value,
            top: top.into_iter().map(share).collect(),
            no: no.map(loudest),
            reason,
        }
    }
}
