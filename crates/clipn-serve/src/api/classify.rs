use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clipn::detector::Detection;
use futures_util::future::join_all;

use super::error::{ApiError, json};
use super::input::{ClassifyInput, InputImage, read};
#[cfg(test)]
use super::openapi::schemas::{ClassifyForm, ClassifyQuery, ClassifyRequest, ErrorResponse};
use super::response::{ClassifyResponse, ImageFailure, ImageOutcome, ImageResult};
use super::selected::Selected;
use super::state::App;
use crate::classify_error::ClassifyError;

/// Classify images
///
/// The body is one image file, a form with files, or JSON with Base64. The response contains one
/// result per image, in request order. If some of several images fail, their results contain an
/// error, and the status is 200. If the only image of a request fails, or if all images fail
/// because of the server, the response is the error.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/classify",
    params(ClassifyQuery),
    request_body(description = "One or more images: JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or QOI", content(
        ("image/*"),
        ("application/octet-stream"),
        (ClassifyForm = "multipart/form-data"),
        (ClassifyRequest = "application/json"),
    )),
    responses(
        (status = 200, description = "One result per image", body = ClassifyResponse),
        (status = 400, description = "Malformed request", body = ErrorResponse),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
        (status = 403, description = "The host of the request is not allowed", body = ErrorResponse),
        (status = 408, description = "Timeout while reading the request", body = ErrorResponse),
        (status = 413, description = "Too many bytes, images or pixels (see the limits in /v1/info)", body = ErrorResponse),
        (status = 415, description = "Unsupported media type or image format", body = ErrorResponse),
        (status = 422, description = "Damaged image or invalid classes", body = ErrorResponse),
        (status = 429, description = "The queue is full; retry later", body = ErrorResponse),
        (status = 500, description = "Inference failed", body = ErrorResponse),
        (status = 503, description = "The server is shutting down, or all workers are dead", body = ErrorResponse),
        (status = 504, description = "Deadline exceeded", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "images",
))]
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    Selected(deployment): Selected,
    request: Request,
) -> Result<Response, ApiError> {
    if app.resources.is_full() {
        return Err(ClassifyError::QueueFull {
            queue: app.settings.max_queued_images,
        }
        .into());
    }
    let (head, body) = request.into_parts();
    let body = app.bodies.read(&head.headers, body).await?;
    let started = Instant::now();
    let deadline = started + app.settings.deadline;
    let ClassifyInput {
        images,
        classes,
        top,
        explain,
    } = read(
        &head.headers,
        &head.uri,
        body.bytes.clone(),
        app.settings.max_images,
    )
    .await?;
    let own_classes = classes.is_none();
    let detector = app
        .detector_for(&deployment, classes, top, deadline)
        .await?
        .with_evidence(explain)
        .map_err(|_| {
            ApiError::new(
                422,
                "no_evidence",
                "this server cannot explain: its image tower computes no local features; leave \
                 `explain` out",
            )
        })?;
    let unseen_words = if own_classes {
        BTreeMap::new()
    } else {
        let names = detector.classifier().class_names().iter();
        let unseen = names.map(|name| (name.clone(), deployment.unseen_words(name)));
        unseen.filter(|(_, words)| !words.is_empty()).collect()
    };
    let tickets = deployment.engine.admit(images.len())?;
    let detections = images
        .into_iter()
        .zip(tickets)
        .map(|(InputImage { id, bytes }, ticket)| {
            let (app, deployment, detector) = (&app, &deployment, detector.clone());
            async move {
                let result = match bytes {
                    Ok(bytes) => {
                        let engine = &deployment.engine;
                        engine.detect(bytes, detector, ticket, deadline).await
                    }
                    Err(error) => Err(error),
                };
                app.metrics
                    .record_image(&deployment.bundle, &result, own_classes);
                (id, result)
            }
        });
    let results = join_all(detections).await;
    let failures = results
        .iter()
        .filter_map(|(_, result)| result.as_ref().err());
    let failures: Vec<_> = failures.map(ClassifyError::code).collect();
    let response = respond(&deployment.model, unseen_words, results, started);
    // The error of the response is counted with the request.
    let of_request = usize::from(response.is_err());
    for code in failures.into_iter().skip(of_request) {
        app.metrics.record_error(code);
    }
    response
}

/// Client's name for an image, and the image's decision or error.
type NamedResult = (Option<String>, Result<Detection, ClassifyError>);

/// Builds the response: one result per image. If the only image failed, or if every image failed
/// with a server error, the first error is the response.
fn respond(
    model: &str,
    unseen_words: BTreeMap<String, Vec<String>>,
    results: Vec<NamedResult>,
    started: Instant,
) -> Result<Response, ApiError> {
    let errors = results.iter().map(|(_, result)| result.as_ref().err());
    let all_failed: Option<Vec<&ClassifyError>> = errors.collect();
    if let Some(errors) = all_failed {
        let server_errors = errors.iter().all(|error| error.status() >= 500);
        if let (Some(first), true) = (errors.first(), errors.len() == 1 || server_errors) {
            return Err(ApiError::from(*first));
        }
    }
    let image_result = |(index, (id, result)): (usize, NamedResult)| {
        let outcome = match result {
            Ok(detection) => ImageOutcome::Decision(Box::new(detection)),
            Err(error) => ImageOutcome::Failure(ImageFailure {
                error: (&error).into(),
            }),
        };
        ImageResult { index, id, outcome }
    };
    let response = ClassifyResponse {
        results: results.into_iter().enumerate().map(image_result).collect(),
        model: model.to_owned(),
        unseen_words,
        duration_ms: (started.elapsed().as_secs_f64() * 1e5).round() / 100.0,
    };
    Ok(json(StatusCode::OK, &response).into_response())
}
