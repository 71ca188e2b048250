use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use clipn::detector::Detector;
use clipn::scores::Rule;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::problem::{ErrorAnswer, json};
use crate::engine::Health;
use crate::metrics::MEDIA_TYPE;

/// What the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Info {
    /// `clipn`.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// Which model.
    model: String,
    /// Side of the pictures that the model sees, in pixels.
    image_size: usize,
    /// The classes, in their order.
    classes: Vec<String>,
    /// Whether a request may name classes that are not among these.
    editable_classes: bool,
    /// What decides between a class and "unknown".
    rule: RuleInfo,
    /// How the threshold was found, where it was calibrated.
    calibration: Option<CalibrationInfo>,
    /// What a request may have.
    limits: Limits,
}

/// What decides between a class and "unknown".
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleInfo {
    /// The score, `atd` for instance.
    score: &'static str,
    /// The least score that is kept; null where each picture has its own, as with the published rule of ATD.
    threshold: Option<f64>,
    /// Whether it was calibrated on pictures of the classes.
    calibrated: bool,
}

/// How a threshold was found.
#[derive(Debug, Serialize, ToSchema)]
struct CalibrationInfo {
    /// The share of pictures of the classes that was to be kept.
    target_tpr: f64,
    /// The confidence of the interval.
    confidence: f64,
    /// Pictures that it was calibrated on.
    pictures: usize,
    /// Share of these that it keeps.
    kept: f64,
    /// The lower end of the interval of the share that it keeps of others.
    kept_lower: f64,
    /// The upper end.
    kept_upper: f64,
    /// What should be known before it is trusted.
    warnings: Vec<String>,
}

/// What a request may have.
#[derive(Debug, Serialize, ToSchema)]
struct Limits {
    /// Bytes of a request.
    request_bytes: usize,
    /// Pictures of a request.
    images: usize,
    /// Pixels of a picture.
    pixels: u64,
    /// Classes that a request names itself.
    classes: usize,
    /// Characters of a class name.
    class_name_characters: usize,
    /// Time for an answer, in milliseconds.
    deadline_ms: u64,
}

/// Whether requests should be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// Whether they should.
    ready: bool,
    /// Why not.
    reason: Option<&'static str>,
}

impl RuleInfo {
    pub(super) fn of(detector: &Detector) -> Self {
        let rule = detector.rule();
        let (threshold, calibrated) = match rule {
            Rule::Ctw { threshold } | Rule::Threshold { threshold, .. } => (Some(threshold), false),
            Rule::AtdExtraClass => (None, false),
            Rule::Calibrated { score, threshold } => (Some(score.from_stable(threshold)), true),
        };
        Self {
            score: rule.score().name(),
            threshold: threshold.filter(|t| t.is_finite()),
            calibrated,
        }
    }
}

/// Tell what the server is
///
/// Version, model, classes, what decides, and the limits.
#[utoipa::path(
    get,
    path = "/v1/info",
    responses(
        (status = 200, description = "What the server is", body = Info),
        (status = 401, description = "A key is needed", body = ErrorAnswer),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
)]
pub(super) async fn info(State(app): State<Arc<App>>) -> Response {
    let (detector, settings) = (&app.detector, &app.settings);
    let calibration = detector.calibration().map(|calibration| {
        let kept = calibration.kept();
        CalibrationInfo {
            target_tpr: calibration.target_tpr(),
            confidence: calibration.confidence(),
            pictures: calibration.len(),
            kept: kept.count as f64 / kept.of.max(1) as f64,
            kept_lower: kept.lower,
            kept_upper: kept.upper,
            warnings: calibration
                .warnings()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    });
    let info = Info {
        name: "clipn",
        version: env!("CARGO_PKG_VERSION"),
        model: app.model.clone(),
        image_size: detector.preprocessing().size,
        classes: detector.classifier().class_names().to_vec(),
        editable_classes: app.classes.encoder().is_some(),
        rule: RuleInfo::of(detector),
        calibration,
        limits: Limits {
            request_bytes: settings.max_request_bytes,
            images: settings.max_images,
            pixels: settings.max_pixels,
            classes: settings.max_classes,
            class_name_characters: super::state::LONGEST_NAME,
            deadline_ms: u64::try_from(settings.deadline.as_millis()).unwrap_or(u64::MAX),
        },
    };
    json(StatusCode::OK, &info)
}

/// Tell whether pictures are being answered
///
/// Looks at every worker and at the queue: a worker that is dead or stuck, or a queue that does not move, is a 503.
#[utoipa::path(
    get,
    path = "/health",
    responses(
        (status = 200, description = "All workers work", body = Health),
        (status = 503, description = "A worker is dead or stuck; restart the server", body = Health),
    ),
    tag = "operation",
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let health = app.engine.health();
    let status = if health.problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &health)
}

/// Tell whether requests should be sent here
///
/// Not while the server is stopping, while it is unhealthy, or while its queue is full.
#[utoipa::path(
    get,
    path = "/ready",
    responses(
        (status = 200, description = "Send requests", body = Ready),
        (status = 503, description = "Send them elsewhere", body = Ready),
    ),
    tag = "operation",
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let reason = if app.is_stopping() {
        Some("the server is stopping")
    } else if !app.engine.health().problems.is_empty() {
        Some("a worker is dead or stuck; see /health")
    } else if app.engine.is_full() {
        Some("the queue is full")
    } else {
        None
    };
    let status = if reason.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(
        status,
        &Ready {
            ready: reason.is_none(),
            reason,
        },
    )
}

/// Tell figures for Prometheus
///
/// Requests, latency, batch sizes, queue, outcomes, errors and the histogram of scores, as OpenMetrics text.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "The figures", body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "A key is needed", body = ErrorAnswer),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "operation",
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.queue.set(app.engine.pictures() as i64);
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], app.metrics.text()).into_response()
}
