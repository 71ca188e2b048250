use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use clipn::calibration::published_threshold;
use clipn::detector::Detector;
use clipn::scores::DecisionRule;
use serde::Serialize;

use super::error::json;
#[cfg(test)]
use super::openapi::schemas::ErrorResponse;
use super::selected::Selected;
use super::state::{App, MAX_NAME_CHARS};
#[cfg(test)]
use crate::engine::Health;
use crate::metrics::MEDIA_TYPE;

/// Description of the server.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Info {
    /// Always `clipn`.
    name: &'static str,
    /// Version of the server.
    version: &'static str,
    /// Name of the bundle that is described.
    bundle: String,
    /// Name of the model.
    model: String,
    /// Number format of the image tower: `f32` or `int8`, on a GPU also `f16` or `bf16`.
    precision: String,
    /// Side length of the model's input in pixels.
    image_size: usize,
    /// The bundle's own classes.
    classes: Vec<String>,
    /// Whether a request may use custom classes.
    editable_classes: bool,
    /// Whether the model has learned "no". If not, `no` and `q` are null in every result.
    has_no: bool,
    /// Whether requests may ask for maps of what is seen where in an image, with `explain`.
    explains: bool,
    /// Words that are no class, which the server rejects with; null if there are none.
    negatives: Option<NegativesInfo>,
    /// Rule that decides between a class and "unknown".
    rule: RuleInfo,
    /// Calibration of the threshold; null if it was not calibrated.
    calibration: Option<CalibrationInfo>,
    /// Limits of a request.
    limits: Limits,
}

/// Words that are no class.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct NegativesInfo {
    /// Where they come from: `wordnet`, `neglabel`, `csp`, or `list` for texts of the operator.
    source: String,
    /// Number of words.
    count: usize,
    /// Number of groups that the score averages over.
    groups: usize,
}

/// Rule that decides between a class and "unknown".
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct RuleInfo {
    /// Where the rule comes from.
    kind: RuleKind,
    /// Name of the score, for example `atd`.
    score: &'static str,
    /// Minimum score of a known image; null if it differs per image, as in the published ATD rule.
    threshold: Option<f64>,
    /// Whether the threshold was calibrated on images of the classes.
    calibrated: bool,
}

/// Origin of a rule.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
enum RuleKind {
    /// The published rule of the score.
    Published,
    /// A threshold that the operator set.
    Threshold,
    /// A threshold that was calibrated on images of the classes.
    Calibrated,
    /// Every image gets its best class.
    AcceptAll,
}

/// Calibration of a threshold.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct CalibrationInfo {
    /// Target true positive rate: fraction of images of the classes to accept, 0 to 1.
    target_tpr: f64,
    /// Confidence level of the interval, 0 to 1.
    confidence: f64,
    /// Number of calibration images.
    pictures: usize,
    /// Fraction of the calibration images that are accepted.
    kept: f64,
    /// Lower bound of the confidence interval of the fraction of new images that are accepted.
    kept_lower: f64,
    /// Upper bound of that interval.
    kept_upper: f64,
    /// Warnings about the calibration data.
    warnings: Vec<String>,
}

/// Limits of a request.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Limits {
    /// Maximum size of a request body in bytes.
    request_bytes: usize,
    /// Maximum number of images per request.
    images: usize,
    /// Maximum number of pixels per image.
    pixels: u64,
    /// Maximum number of custom classes per request.
    classes: usize,
    /// Maximum length of a class name in characters.
    class_name_characters: usize,
    /// Maximum processing time of a request, in milliseconds.
    deadline_ms: u64,
}

/// Readiness to accept requests.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Ready {
    /// Whether the server accepts requests.
    ready: bool,
    /// Why it does not; null if it does.
    reason: Option<&'static str>,
}

impl RuleInfo {
    /// Describes the rule of a detector.
    pub(super) fn new(detector: &Detector) -> Self {
        let rule = detector.rule();
        let (threshold, calibrated) = match rule {
            DecisionRule::Ctw { threshold } | DecisionRule::Threshold { threshold, .. } => {
                (Some(threshold), false)
            }
            DecisionRule::Calibrated { score, threshold } => {
                (Some(published_threshold(score, threshold)), true)
            }
            _ => (None, false),
        };
        let kind = match rule {
            DecisionRule::AcceptAll { .. } => RuleKind::AcceptAll,
            _ if calibrated => RuleKind::Calibrated,
            rule if DecisionRule::default_for(rule.score()) == Some(rule) => RuleKind::Published,
            _ => RuleKind::Threshold,
        };
        Self {
            kind,
            score: rule.score().name(),
            threshold: threshold.filter(|t| t.is_finite()),
            calibrated,
        }
    }
}

/// The name of a word list; of a file only its name, to not disclose directories of this machine.
fn source_name(source: &str) -> String {
    let file_name = Path::new(source).file_name();
    file_name.map_or_else(
        || source.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Describe the server and its first bundle
///
/// Version, model, classes, decision rule, calibration and limits.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v1/info",
    responses(
        (status = 200, description = "Description of the server", body = Info),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
))]
pub(super) async fn info(State(app): State<Arc<App>>, Selected(deployment): Selected) -> Response {
    let (detector, settings) = (&deployment.detector, &app.settings);
    let calibration = detector.calibration().map(|calibration| {
        let kept = calibration.kept();
        CalibrationInfo {
            target_tpr: calibration.target_tpr(),
            confidence: calibration.confidence(),
            pictures: calibration.len(),
            kept: kept.count as f64 / kept.total.max(1) as f64,
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
        bundle: deployment.bundle.clone(),
        model: deployment.model.clone(),
        precision: detector.tower().precision().to_string(),
        image_size: detector.preprocessing().size,
        classes: detector.classifier().class_names().to_vec(),
        editable_classes: deployment.classes.encoder().is_some(),
        has_no: detector.classifier().has_no(),
        explains: detector.tower().has_local_features(),
        negatives: detector
            .classifier()
            .negatives()
            .map(|negatives| NegativesInfo {
                source: source_name(&negatives.origin().source),
                count: negatives.len(),
                groups: negatives.groups(),
            }),
        rule: RuleInfo::new(detector),
        calibration,
        limits: Limits {
            request_bytes: settings.max_request_bytes,
            images: settings.max_images,
            pixels: settings.max_pixels,
            classes: settings.max_classes,
            class_name_characters: MAX_NAME_CHARS,
            deadline_ms: u64::try_from(settings.deadline.as_millis()).unwrap_or(u64::MAX),
        },
    };
    json(StatusCode::OK, &info)
}

/// Check liveness
///
/// Status 503 if a worker is dead or stuck, or if the queue makes no progress.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/health",
    responses(
        (status = 200, description = "All workers are healthy", body = Health),
        (status = 503, description = "A worker is dead or the server is stuck; restart it", body = Health),
    ),
    tag = "operation",
))]
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let health = app.health();
    let status = if health.problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &health)
}

/// Check readiness
///
/// Status 503 while the server is shutting down, unhealthy, or has a full queue.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/ready",
    responses(
        (status = 200, description = "Ready for requests", body = Ready),
        (status = 503, description = "Not ready; use another server", body = Ready),
    ),
    tag = "operation",
))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let reason = if app.is_stopping() {
        Some("the server is shutting down")
    } else if !app.health().problems.is_empty() {
        Some("the server is unhealthy; see /health")
    } else if app.resources.is_full() {
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

/// Metrics for Prometheus
///
/// Requests, latency, batch sizes, queue, outcomes, errors and a histogram of scores, in
/// OpenMetrics text format.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "Metrics", body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "operation",
))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics
        .queue
        .set(app.resources.admitted_images() as i64);
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], app.metrics.text()).into_response()
}
