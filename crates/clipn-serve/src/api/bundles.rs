//! The routes of `/v1/bundles`.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::classify;
use super::error::{ApiError, json};
#[cfg(test)]
use super::openapi::schemas::{
    ClassesRequest, ClassesResponse, ClassifyForm, ClassifyQuery, ClassifyRequest,
    ClassifyResponse, ErrorResponse, Info,
};
use super::selected::Selected;
use super::state::App;
use super::status;
use crate::bundles::Slot;

/// Bundles that are served.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct BundleList {
    /// Bundles, in the order of the server's configuration. The first one answers requests whose path
    /// names none.
    bundles: Vec<BundleInfo>,
}

/// One bundle.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct BundleInfo {
    /// Name of the bundle, for `/v1/bundles/NAME/classify`.
    name: String,
    /// Name of the model.
    model: String,
    /// Number of classes.
    classes: usize,
    /// Whether the threshold was calibrated on images of the classes.
    calibrated: bool,
    /// Time since which the model is in service, in seconds since the Unix epoch.
    since: u64,
    /// Number of times that the bundle was replaced because its file changed.
    reloads: u64,
    /// Whether the file is missing, or has changed but cannot be opened: an older state of it is in
    /// service.
    stale: bool,
}

impl BundleInfo {
    fn new(slot: &Slot) -> Self {
        let deployment = slot.current();
        let since = deployment.since.duration_since(UNIX_EPOCH);
        Self {
            name: slot.name().to_owned(),
            model: deployment.model.clone(),
            classes: deployment.detector.classifier().len(),
            calibrated: deployment.is_calibrated(),
            since: since.map(|since| since.as_secs()).unwrap_or_default(),
            reloads: slot.reloads(),
            stale: slot.is_stale(),
        }
    }
}

/// List the bundles
///
/// Names, models and state of the bundles that are served.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v1/bundles",
    responses(
        (status = 200, description = "The bundles", body = BundleList),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
))]
pub(super) async fn bundles(State(app): State<Arc<App>>) -> Response {
    let bundles = app.bundles.iter().map(BundleInfo::new).collect();
    json(StatusCode::OK, &BundleList { bundles })
}

/// Classify images with a bundle
///
/// Same as `POST /v1/classify`, with the classes and the rule of this bundle.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/bundles/{name}/classify",
    params(("name" = String, Path, description = "Name of a bundle"), ClassifyQuery),
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
        (status = 404, description = "No bundle of this name", body = ErrorResponse),
        (status = "4XX", description = "Same as `POST /v1/classify`", body = ErrorResponse),
        (status = "5XX", description = "Same as `POST /v1/classify`", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "images",
))]
pub(super) async fn classify_with(
    app: State<Arc<App>>,
    selected: Selected,
    request: Request,
) -> Result<Response, ApiError> {
    classify::classify(app, selected, request).await
}

/// Encode custom classes for a bundle
///
/// Same as `POST /v1/classes`, with the text towers of this bundle.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/bundles/{name}/classes",
    params(("name" = String, Path, description = "Name of a bundle")),
    request_body = ClassesRequest,
    responses(
        (status = 200, description = "The classes are encoded", body = ClassesResponse),
        (status = 400, description = "Malformed request", body = ErrorResponse),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
        (status = 404, description = "No bundle of this name", body = ErrorResponse),
        (status = 422, description = "Invalid classes", body = ErrorResponse),
        (status = 429, description = "Too many requests with custom classes; retry later", body = ErrorResponse),
        (status = 504, description = "Deadline exceeded", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
))]
pub(super) async fn classes_of(
    app: State<Arc<App>>,
    selected: Selected,
    request: Request,
) -> Result<Response, ApiError> {
    super::classes::classes(app, selected, request).await
}

/// Describe a bundle
///
/// Same as `GET /v1/info`, for this bundle.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v1/bundles/{name}/info",
    params(("name" = String, Path, description = "Name of a bundle")),
    responses(
        (status = 200, description = "Description of the bundle", body = Info),
        (status = 401, description = "Missing or invalid API key", body = ErrorResponse),
        (status = 404, description = "No bundle of this name", body = ErrorResponse),
    ),
    security((), ("bearer" = []), ("key" = [])),
    tag = "classes",
))]
pub(super) async fn info_of(app: State<Arc<App>>, selected: Selected) -> Response {
    status::info(app, selected).await
}
