use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use clipn::error::chain_in_one_line;
use serde::Serialize;
use utoipa::ToSchema;

use crate::classify_error::ClassifyError;

/// Error of a request or of one of its images.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// Stable, machine-readable code, for example `queue_full`.
    pub(crate) code: &'static str,
    /// Human-readable description.
    pub(crate) message: String,
}

/// Body of every error response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorResponse {
    /// Code and message of the error.
    pub(crate) error: ErrorBody,
}

/// Error response: HTTP status and body.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

/// Response extension that carries the error code to the log and the metrics.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

impl ApiError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            body: ErrorBody {
                code,
                message: message.into(),
            },
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "internal", "internal server error; see the server log")
    }
}

impl From<&ClassifyError> for ErrorBody {
    fn from(error: &ClassifyError) -> Self {
        Self {
            code: error.code(),
            message: chain_in_one_line(error),
        }
    }
}

impl From<&ClassifyError> for ApiError {
    fn from(error: &ClassifyError) -> Self {
        Self::new(error.status(), error.code(), chain_in_one_line(error))
    }
}

impl From<ClassifyError> for ApiError {
    fn from(error: ClassifyError) -> Self {
        Self::from(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.body.code;
        let mut response = json(self.status, &ErrorResponse { error: self.body });
        response.extensions_mut().insert(ErrorCode(code));
        if matches!(self.status.as_u16(), 429 | 503) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Serializes a value into a JSON response.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let typed = [(header::CONTENT_TYPE, "application/json")];
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, typed, bytes).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot serialize response");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                typed,
                r#"{"error":{"code":"internal","message":""}}"#,
            )
                .into_response()
        }
    }
}

pub(super) async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
    ApiError::new(404, "not_found", format!("no such path: {path}; see /docs"))
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let known = super::routes()
        .find(|(_, path)| *path == uri.path())
        .map_or("another method", |(known, _)| known);
    let message = format!("{method} is not allowed for {}; use {known}", uri.path());
    ApiError::new(405, "method_not_allowed", message)
}
