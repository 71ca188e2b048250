//! OpenAPI document. It is generated from the routes and types by a test and embedded, so that a
//! build does not generate it.
use axum::http::header;
use axum::response::{IntoResponse, Response};

#[cfg(test)]
mod examples;
#[cfg(test)]
mod generated;
#[cfg(test)]
pub(crate) mod schemas;

/// Returns the OpenAPI document as JSON, as served at `/openapi.json`.
#[must_use]
pub fn openapi() -> &'static str {
    include_str!("openapi/openapi.json")
}

/// OpenAPI document
#[cfg_attr(test, utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json")),
    tag = "pages",
))]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi()).into_response()
}
