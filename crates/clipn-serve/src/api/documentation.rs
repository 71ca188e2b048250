use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{classes, classify, pages, status};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "clipn",
        description = "Zero-shot classification that knows when to say no: pictures in, for each one of your labels or \
                       \"unknown\" out, with its reason.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        contact(name = "clipn"),
    ),
    paths(
        classify::classify,
        classes::classes,
        status::info,
        status::health,
        status::ready,
        status::metrics,
        document,
        pages::docs,
        pages::index,
    ),
    tags(
        (name = "pictures", description = "What pictures are"),
        (name = "classes", description = "What they are held against"),
        (name = "operation", description = "How the server is doing"),
        (name = "pages", description = "For people"),
    ),
    modifiers(&Keys),
)]
struct Document;

/// The two ways to send a key.
struct Keys;

impl Modify for Keys {
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

/// The OpenAPI document as JSON, as `/openapi.json` gives it.
pub fn openapi() -> String {
    // A document that is made of structures alone can always be written.
    Document::openapi().to_json().unwrap_or_default()
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json")),
    tag = "pages",
)]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
}
