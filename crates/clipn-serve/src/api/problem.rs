use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::failure::Failure;

/// Why a request, or one of its pictures, has no answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// A name to tell it by, `queue_full` for instance.
    pub(crate) code: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

/// The form of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    /// What went wrong.
    pub(crate) error: ErrorBody,
}

/// A request that gets an error for its answer.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    body: ErrorBody,
}

/// Left on an answer for the log and the count.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

impl Problem {
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
        Self::new(
            500,
            "internal",
            "something failed that should not; the server's log tells more",
        )
    }
}

impl From<&Failure> for ErrorBody {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code(),
            message: failure.to_string(),
        }
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.status(), failure.code(), failure.to_string())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::from(&failure)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.body.code;
        let mut response = json(self.status, &ErrorAnswer { error: self.body });
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

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let typed = [(header::CONTENT_TYPE, "application/json")];
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, typed, bytes).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                typed,
                r#"{"error":{"code":"internal","message":""}}"#,
            )
                .into_response()
        }
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(
        404,
        "not_found",
        format!("there is no {path}; /docs lists what there is"),
    )
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let known = super::routes()
        .find(|(_, path)| *path == uri.path())
        .map_or("another method", |(known, _)| known);
    let message = format!("{} does not take {method}; use {known}", uri.path());
    Problem::new(405, "method_not_allowed", message)
}
