use clipn::detector::{Candidate, Detection, StrongestNo};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;

/// Response to a classification request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassifyResponse {
    /// One result per image, in request order.
    pub(super) results: Vec<ImageResult>,
    /// Name of the model.
    pub(super) model: String,
    /// Processing time from the request's last byte to the response, in milliseconds.
    pub(super) duration_ms: f64,
}

/// Decision or error for one image.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImageResult {
    /// Index of the image in the request, from 0.
    pub(super) index: usize,
    /// Client's name for the image: its `id` in JSON, its file name in a form.
    pub(super) id: Option<String>,
    #[serde(flatten)]
    pub(super) outcome: ImageOutcome,
}

/// Decision or error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ImageOutcome {
    Decision(Decision),
    Failure(ImageFailure),
}

/// Error result of an image.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImageFailure {
    /// Code and message of the error.
    pub(super) error: ErrorBody,
}

/// Decision for an image.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decision {
    /// Name of the predicted class; null if the image is unknown.
    label: Option<String>,
    /// Index of the predicted class; null if the image is unknown.
    class: Option<usize>,
    /// Whether the image belongs to none of the classes.
    unknown: bool,
    /// Score that is compared with the threshold; null if it is not finite.
    score: Option<f64>,
    /// Minimum score of a known image; images below it are unknown.
    threshold: Option<f64>,
    /// Conformal p-value of a calibrated detector: the fraction of calibration images with a score
    /// that is not higher. Null without calibration.
    p_value: Option<f64>,
    /// Classes with the largest p, in descending order.
    top: Vec<ClassProbabilities>,
    /// Class with the largest contribution to rejection.
    no: Option<NoContribution>,
    /// Explanation of the decision in one sentence.
    reason: String,
}

/// Probabilities of a class.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassProbabilities {
    /// Index of the class.
    class: usize,
    /// Name of the class.
    label: String,
    /// Probability of the class among all classes, from the "yes" prompts: a softmax that sums to
    /// 1.
    p: f32,
    /// Probability of "yes" against "no" for this class alone, 0 to 1.
    q: f32,
}

/// Class that contributes most to the probability of "none of these".
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoContribution {
    /// Index of the class.
    class: usize,
    /// Name of the class.
    label: String,
    /// Probability of the class among all classes, 0 to 1.
    p: f32,
    /// Probability of "yes" against "no" for this class alone, 0 to 1.
    q: f32,
    /// Contribution to the probability of "none of these": p·(1 − q).
    share: f32,
}

impl From<Detection> for Decision {
    fn from(detection: Detection) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        let unknown = detection.is_unknown();
        let probabilities = |candidate: Candidate| ClassProbabilities {
            class: candidate.class,
            label: candidate.label,
            p: candidate.probability,
            q: candidate.agreement,
        };
        let contribution = |no: StrongestNo| NoContribution {
            class: no.class,
            label: no.label,
            p: no.probability,
            q: no.agreement,
            share: no.contribution,
        };
        Self {
            unknown,
            label: detection.label,
            class: detection.class,
            score: finite(detection.score),
            threshold: finite(detection.threshold),
            p_value: detection.p_value,
            top: detection.top.into_iter().map(probabilities).collect(),
            no: detection.strongest_no.map(contribution),
            reason: detection.reason,
        }
    }
}
