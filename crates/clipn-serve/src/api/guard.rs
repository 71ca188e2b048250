use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::error::ApiError;

/// Headers that are added to every response.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Middleware that rejects requests without a valid API key, unless authentication is disabled.
pub(super) async fn require_api_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if !app.settings.keys.is_empty()
        && !api_key(&request).is_some_and(|key| app.settings.keys.contains(key))
    {
        let message = "missing or invalid API key; \
                       send `Authorization: Bearer KEY` or `X-API-Key: KEY`";
        return ApiError::new(401, "unauthorised", message).into_response();
    }
    next.run(request).await
}

/// The key of a request: `X-API-Key`, else the bearer token.
fn api_key(request: &Request) -> Option<&[u8]> {
    let headers = request.headers();
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

/// Middleware that adds [`HEADERS`] to every response.
pub(super) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
