use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::problem::{ErrorAnswer, Problem, json};
use super::status::RuleInfo;

/// Classes to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassesRequest {
    /// Their names.
    classes: Vec<String>,
}

/// Classes that pictures can be held against.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassesAnswer {
    /// The classes as they will be asked for.
    classes: Vec<ClassInfo>,
    /// What decides between them and "unknown".
    rule: RuleInfo,
    /// Time that it took.
    duration_ms: f64,
}

/// One class.
#[derive(Debug, Serialize, ToSchema)]
struct ClassInfo {
    /// Its name.
    name: String,
    /// Words in it that the model has never read, where it tells: what it says of the class means nothing.
    unseen_words: Vec<String>,
}

/// Try other classes
///
/// Encodes the names, so that requests that name these classes are answered at once. The server keeps its own classes.
#[utoipa::path(
    post,
    path = "/v1/classes",
    request_body = ClassesRequest,
    responses(
        (status = 200, description = "The classes can be asked for", body = ClassesAnswer),
        (status = 400, description = "The request is not understood", body = ErrorAnswer),
        (status = 401, description = "A key is needed", body = ErrorAnswer),
        (status = 422, description = "The classes cannot be asked for", body = ErrorAnswer),
        (status = 429, description = "Others are naming classes; try again", body = ErrorAnswer),
        (status = 504, description = "Not encoded within the deadline", body = ErrorAnswer),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
)]
pub(super) async fn classes(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = app.bodies.read(&head.headers, body).await?;
    let begun = Instant::now();
    let asked: ClassesRequest = serde_json::from_slice(&body.bytes).map_err(|error| {
        Problem::bad_request(format!(
            "the request is not the JSON that is read here: {error}; see /docs"
        ))
    })?;
    let deadline = begun + app.settings.deadline;
    let detector = app.detector_for(Some(asked.classes), 1, deadline).await?;
    let unseen = |name: &String| {
        app.classes
            .encoder()
            .map(|encoder| encoder.unseen(name))
            .unwrap_or_default()
    };
    let info = |name: &String| ClassInfo {
        name: name.clone(),
        unseen_words: unseen(name),
    };
    let answer = ClassesAnswer {
        classes: detector
            .classifier()
            .class_names()
            .iter()
            .map(info)
            .collect(),
        rule: RuleInfo::of(&detector),
        duration_ms: (begun.elapsed().as_secs_f64() * 1e5).round() / 100.0,
    };
    Ok(json(StatusCode::OK, &answer))
}
