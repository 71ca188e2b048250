use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::error::{ApiError, json};
use super::input::json_object;
#[cfg(test)]
use super::openapi::schemas::ErrorResponse;
use super::selected::Selected;
use super::state::App;
use super::status::RuleInfo;

/// Class names to encode.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `classes`")]
pub(crate) struct ClassesRequest {
    /// Class names.
    classes: Vec<String>,
}

/// Classes that are ready for classification.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ClassesResponse {
    /// Classes in request order, with trimmed names.
    classes: Vec<ClassInfo>,
    /// Rule that decides between these classes and "unknown".
    rule: RuleInfo,
    /// Processing time in milliseconds.
    duration_ms: f64,
}

/// One class.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct ClassInfo {
    /// Name of the class.
    name: String,
    /// Words of the name that did not occur in the training captions; predictions for the class are
    /// unreliable. Empty if the model does not record its training vocabulary.
    unseen_words: Vec<String>,
}

/// Encode custom classes
///
/// Encodes class names in advance and caches them, so that later requests with these classes are
/// fast. The server's own classes do not change.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/classes",
    request_body = ClassesRequest,
    responses(
        (status = 200, description = "The classes are encoded", body = ClassesResponse),
        (status = 400, description = "Malformed request", body = ErrorResponse),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
        (status = 422, description = "Invalid classes", body = ErrorResponse),
        (status = 429, description = "Too many requests with custom classes; retry later", body = ErrorResponse),
        (status = 504, description = "Deadline exceeded", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
))]
pub(super) async fn classes(
    State(app): State<Arc<App>>,
    Selected(deployment): Selected,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = app.bodies.read(&head.headers, body).await?;
    let started = Instant::now();
    let request: ClassesRequest = json_object(&body.bytes)?;
    let deadline = started + app.settings.deadline;
    let detector = app
        .detector_for(&deployment, Some(request.classes), 1, deadline)
        .await?;
    let info = |name: &String| ClassInfo {
        name: name.clone(),
        unseen_words: deployment.unseen_words(name),
    };
    let response = ClassesResponse {
        classes: detector
            .classifier()
            .class_names()
            .iter()
            .map(info)
            .collect(),
        rule: RuleInfo::new(&detector),
        duration_ms: (started.elapsed().as_secs_f64() * 1e5).round() / 100.0,
    };
    Ok(json(StatusCode::OK, &response))
}
