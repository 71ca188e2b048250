//! Generation of the OpenAPI document from the routes and types.
use std::path::Path;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::examples::Examples;
use crate::api::{bundles, classes, classify, openapi, pages, status};

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
        openapi::document,
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

#[test]
fn the_embedded_document_is_that_of_the_routes_and_types() {
    let generated = Document::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::write(folder.join("src/api/openapi/openapi.json"), &generated).unwrap();
    } else {
        let mut lines = generated.lines().zip(openapi().lines()).enumerate();
        let difference = lines.find(|(_, (generated, embedded))| generated != embedded);
        assert!(
            generated == openapi(),
            "src/api/openapi/openapi.json is out of date: {difference:?}; \
             run `INSTA_UPDATE=always cargo test -p clipn-serve --lib`, and read the difference"
        );
    }
}
