use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clipn::detector::{Detection, Detector};
use futures_util::future::join_all;

use super::App;
use super::answer::{ClassifyAnswer, Decided, Failed, Outcome, PictureResult};
use super::pictures::{Asked, ClassifyForm, ClassifyQuery, ClassifyRequest, Picture, read};
use super::problem::{ErrorAnswer, Problem, json};
use crate::engine::Ticket;
use crate::failure::Failure;

/// Tell what pictures are
///
/// A picture as it is, files in a form, or JSON with Base64. The answer has one result for each picture, in their order.
/// Of several pictures one that cannot be read fails alone: its result is an error, the others have theirs. A request of
/// one picture that fails is answered with its error.
#[utoipa::path(
    post,
    path = "/v1/classify",
    params(ClassifyQuery),
    request_body(description = "One or several pictures: JPEG, PNG, WebP, BMP, GIF or TIFF", content(
        ("image/*"),
        ("application/octet-stream"),
        (ClassifyForm = "multipart/form-data"),
        (ClassifyRequest = "application/json"),
    )),
    responses(
        (status = 200, description = "A result for each picture", body = ClassifyAnswer),
        (status = 400, description = "The request is not understood", body = ErrorAnswer),
        (status = 401, description = "A key is needed", body = ErrorAnswer),
        (status = 408, description = "The request took too long to arrive", body = ErrorAnswer),
        (status = 413, description = "Too many bytes, pictures or pixels", body = ErrorAnswer),
        (status = 415, description = "Of a kind that is not read", body = ErrorAnswer),
        (status = 422, description = "The picture is damaged, or the classes cannot be asked for", body = ErrorAnswer),
        (status = 429, description = "The queue is full; try again", body = ErrorAnswer),
        (status = 500, description = "The computation failed", body = ErrorAnswer),
        (status = 503, description = "The server is stopping or has no workers", body = ErrorAnswer),
        (status = 504, description = "Not answered within the deadline", body = ErrorAnswer),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "pictures",
)]
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    if app.engine.is_full() {
        return Err(Failure::QueueFull {
            queue: app.settings.queue,
        }
        .into());
    }
    let (head, body) = request.into_parts();
    let body = app.bodies.read(&head.headers, body).await?;
    let begun = Instant::now();
    let deadline = begun + app.settings.deadline;
    let asked = read(
        &head.headers,
        &head.uri,
        body.bytes.clone(),
        app.settings.max_images,
    )
    .await?;
    let Asked {
        pictures,
        classes,
        top,
    } = asked;
    let own = classes.is_none();
    let detector = app.detector_for(classes, top, deadline).await?;
    let tickets = app.engine.admit(pictures.len())?;
    let answers = pictures
        .into_iter()
        .zip(tickets)
        .map(|(Picture { id, bytes }, ticket)| {
            let found = detect(&app, bytes, detector.clone(), ticket, deadline, own);
            async { (id, found.await) }
        });
    let found = join_all(answers).await;
    answer(&app, found, begun)
}

async fn detect(
    app: &App,
    bytes: Result<bytes::Bytes, Failure>,
    detector: Detector,
    ticket: Ticket,
    deadline: Instant,
    own: bool,
) -> Result<Detection, Failure> {
    let found = match bytes {
        Ok(bytes) => app.engine.detect(bytes, detector, ticket, deadline).await,
        Err(failure) => Err(failure),
    };
    match &found {
        Ok(detection) => app.metrics.decided(detection, own),
        Err(failure) => app.metrics.failed(failure.code()),
    }
    found
}

/// One result a picture, or the error of the only one, or that of all where the server could not answer any.
fn answer(
    app: &App,
    found: Vec<(Option<String>, Result<Detection, Failure>)>,
    begun: Instant,
) -> Result<Response, Problem> {
    let failures = found.iter().map(|(_, found)| found.as_ref().err());
    let all_failed: Option<Vec<&Failure>> = failures.collect();
    if let Some(failures) = all_failed {
        let servers_fault = failures.iter().all(|failure| failure.status() >= 500);
        if let (Some(first), true) = (failures.first(), failures.len() == 1 || servers_fault) {
            return Err(Problem::from(*first));
        }
    }
    let result = |(index, (id, found)): (usize, (Option<String>, Result<Detection, Failure>))| {
        let outcome = match found {
            Ok(detection) => Outcome::Decided(Decided::from(detection)),
            Err(failure) => Outcome::Failed(Failed {
                error: (&failure).into(),
            }),
        };
        PictureResult { index, id, outcome }
    };
    let answer = ClassifyAnswer {
        results: found.into_iter().enumerate().map(result).collect(),
        model: app.model.clone(),
        duration_ms: (begun.elapsed().as_secs_f64() * 1e5).round() / 100.0,
    };
    Ok(json(StatusCode::OK, &answer).into_response())
}
