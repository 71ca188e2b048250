use std::borrow::Cow;

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use clipn::text::escape_control;
use serde::Serialize;

use crate::classify_error::ClassifyError;

/// Maximum length of an error message in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// Maximum number of characters of a request that an error repeats.
const MAX_INPUT_CHARS: usize = 100;

/// Text of a request as an error repeats it: control characters escaped, and cut.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    escape_control(text, MAX_INPUT_CHARS)
}

/// Message of a parser, which may repeat any part of a request in its middle: control characters
/// escaped, and cut there.
pub(super) fn shown_message(message: &str) -> String {
    const TAIL_CHARS: usize = 80;
    let mut tail = message.char_indices().rev();
    let Some((at, _)) = tail.nth(TAIL_CHARS - 1) else {
        return escape_control(message, MAX_MESSAGE_CHARS).into_owned();
    };
    let (head, tail) = message.split_at(at);
    let (head, tail) = (shown(head), escape_control(tail, MAX_MESSAGE_CHARS));
    let gap = if head.ends_with(')') && head.contains("… (") {
        " "
    } else {
        ""
    };
    format!("{head}{gap}{tail}")
}

/// Error of a request or of one of its images.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ErrorBody {
    /// Stable, machine-readable code, for example `queue_full`.
    pub(crate) code: &'static str,
    /// Human-readable description.
    pub(crate) message: String,
}

/// Body of every error response.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
            body: ErrorBody::new(code, &message.into()),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "internal", "internal server error; see the server log")
    }
}

impl ErrorBody {
    fn new(code: &'static str, message: &str) -> Self {
        Self {
            code,
            message: escape_control(message, MAX_MESSAGE_CHARS).into_owned(),
        }
    }
}

impl From<&ClassifyError> for ErrorBody {
    fn from(error: &ClassifyError) -> Self {
        Self::new(error.code(), &error.message())
    }
}

impl From<&ClassifyError> for ApiError {
    fn from(error: &ClassifyError) -> Self {
        Self::new(error.status(), error.code(), error.message())
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
    let message = format!("no such path: {}; see /docs", shown(uri.path()));
    ApiError::new(404, "not_found", message)
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let known = super::routes()
        .find(|(_, path)| matches_route(path, uri.path()))
        .map_or("another method", |(known, _)| known);
    let message = format!(
        "{} is not allowed for {}; use {known}",
        shown(method.as_str()),
        shown(uri.path())
    );
    ApiError::new(405, "method_not_allowed", message)
}

/// Whether a path is that of a route, whose parameters are in braces.
fn matches_route(route: &str, path: &str) -> bool {
    let (route, path) = (route.split('/'), path.split('/'));
    route.clone().count() == path.clone().count()
        && route
            .zip(path)
            .all(|(expected, part)| expected == part || expected.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_loses_its_middle() {
        let input = "A".repeat(5_000_000);
        let message =
            format!("invalid type: string \"{input}\", expected a map at line 1 column 9");
        let shown = shown_message(&message);
        assert!(shown.chars().count() < 250, "{shown}");
        assert!(shown.starts_with("invalid type: string \"AAA"), "{shown}");
        assert!(shown.contains("more characters) A"), "{shown}");
        assert!(
            shown.ends_with("AA\", expected a map at line 1 column 9"),
            "{shown}"
        );
        assert_eq!(shown_message("short\u{1b}"), "short\\u{1b}");
        let exact = "é".repeat(180);
        assert_eq!(shown_message(&exact), exact);
    }

    #[test]
    fn parameters_of_routes_match_any_name() {
        assert!(matches_route(
            "/v1/bundles/{name}/info",
            "/v1/bundles/shop/info"
        ));
        assert!(!matches_route(
            "/v1/bundles/{name}/info",
            "/v1/bundles/shop/classify"
        ));
        assert!(!matches_route("/v1/info", "/v1/info/more"));
    }
}
