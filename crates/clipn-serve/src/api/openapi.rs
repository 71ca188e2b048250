use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::examples::Examples;
use super::{bundles, classes, classify, pages, status};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "clipn",
        description = "Zero-shot image classification with CLIPN: each image gets one of your labels or \"unknown\", \
                       and the reason.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        contact(name = "clipn"),
    ),
    paths(
        classify::classify,
        classes::classes,
        status::info,
        bundles::bundles,
        bundles::classify_with,
        bundles::classes_of,
        bundles::info_of,
        status::health,
        status::ready,
        status::metrics,
        document,
        pages::docs,
        pages::index,
    ),
    tags(
        (name = "images", description = "Classification"),
        (name = "classes", description = "Model and classes"),
        (name = "operation", description = "Health and metrics"),
        (name = "pages", description = "Web pages and documentation"),
    ),
    modifiers(&ApiKeySchemes, &Examples),
)]
struct Document;

/// Security schemes: bearer token and `X-API-Key` header.
struct ApiKeySchemes;

impl Modify for ApiKeySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme(
            "key",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))),
        );
    }
}

static JSON: LazyLock<String> = LazyLock::new(openapi);

/// Returns the OpenAPI document as JSON, as served at `/openapi.json`.
pub fn openapi() -> String {
    // Serialization of the document does not fail: it has no maps with non-string keys.
    Document::openapi().to_json().unwrap_or_default()
}

/// OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json")),
    tag = "pages",
)]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
}
