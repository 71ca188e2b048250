use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::App;

/// Middleware that rejects requests without a valid API key, unless authentication is disabled.
pub(super) async fn require_api_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if !app.settings.api_keys.is_empty()
        && !api_key(&request).is_some_and(|key| app.settings.api_keys.contains(key))
    {
        let message = "missing or invalid API key; \
                       send `Authorization: Bearer KEY` or `X-API-Key: KEY`";
        return ApiError::new(401, "unauthorized", message).into_response();
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
