use std::collections::BTreeMap;

use clipn::detector::Detection;
use serde::Serialize;

use super::error::ErrorBody;

/// Response to a classification request.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ClassifyResponse {
    /// One result per image, in request order.
    pub(super) results: Vec<ImageResult>,
    /// Name of the model.
    pub(super) model: String,
    /// Words that did not occur in the model's training, by the custom class of the request that has them.
    /// Absent if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) unseen_words: BTreeMap<String, Vec<String>>,
    /// Processing time from the request's last byte to the response, in milliseconds.
    pub(super) duration_ms: f64,
}

/// Decision or error for one image.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ImageResult {
    /// Index of the image in the request, from 0.
    pub(super) index: usize,
    /// Client's name for the image: its `id` in JSON, its file name in a form.
    pub(super) id: Option<String>,
    #[serde(flatten)]
    pub(super) outcome: ImageOutcome,
}

/// Decision or error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(untagged)]
pub(super) enum ImageOutcome {
    #[cfg_attr(test, schema(value_type = crate::api::openapi::schemas::DecisionSchema))]
    Decision(Box<Detection>),
    Failure(ImageFailure),
}

/// Error result of an image.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ImageFailure {
    /// Code and message of the error.
    pub(super) error: ErrorBody,
}
