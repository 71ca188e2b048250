use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// HTML page with its content security policy.
struct Page {
    html: &'static str,
    policy: HeaderValue,
}

static INDEX: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../pages/index.html")));
static DOCS: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../pages/docs.html")));

impl Page {
    /// Creates a page whose policy allows its own inline script and style, by hash, and nothing
    /// else.
    fn new(html: &'static str) -> Self {
        let hashes = |tag: &str| {
            element_content(html, tag)
                .map(|text| format!("'sha256-{}'", hash(text)))
                .unwrap_or_default()
        };
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; img-src blob: data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hashes("script"),
            hashes("style")
        );
        let policy = HeaderValue::from_str(&policy)
            .unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { html, policy }
    }

    fn response(&self) -> Response {
        let content_type = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        (
            [
                content_type,
                (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            ],
            self.html,
        )
            .into_response()
    }
}

/// Content of the first element `<tag>` without attributes.
fn element_content<'a>(html: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// Web page to classify images
#[cfg_attr(test, utoipa::path(
    get,
    path = "/",
    responses((status = 200, description = "HTML page", content_type = "text/html")),
    tag = "pages",
))]
pub(super) async fn index() -> Response {
    INDEX.response()
}

/// API documentation as a web page
#[cfg_attr(test, utoipa::path(
    get,
    path = "/docs",
    responses((status = 200, description = "HTML page", content_type = "text/html")),
    tag = "pages",
))]
pub(super) async fn docs() -> Response {
    DOCS.response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_one_script_and_one_style_and_load_no_resources() {
        for page in [&INDEX, &DOCS] {
            for tag in ["script", "style"] {
                assert_eq!(page.html.matches(&format!("<{tag}")).count(), 1);
                assert!(element_content(page.html, tag).is_some_and(|text| !text.is_empty()));
            }
            for forbidden in [
                "http://",
                "https://",
                " src=",
                "@import",
                "url(",
                "<link",
                "onclick=",
                "style=\"",
                "innerHTML",
            ] {
                assert!(!page.html.contains(forbidden), "{forbidden}");
            }
            assert!(
                page.policy
                    .to_str()
                    .unwrap()
                    .contains("script-src 'sha256-")
            );
        }
    }
}
