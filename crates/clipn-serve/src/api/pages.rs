use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// A page with what its browser may do with it.
struct Page {
    html: &'static str,
    policy: HeaderValue,
}

static INDEX: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../pages/index.html")));
static DOCS: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("../pages/docs.html")));

impl Page {
    /// A page whose own script and style run and nothing else: they are told by their hashes.
    fn new(html: &'static str) -> Self {
        let hashes = |tag: &str| {
            inside(html, tag)
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

    fn answer(&self) -> Response {
        let typed = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        (
            [
                typed,
                (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            ],
            self.html,
        )
            .into_response()
    }
}

/// What stands in the page's only element of that name.
fn inside<'a>(html: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// A page to try pictures on
#[utoipa::path(
    get,
    path = "/",
    responses((status = 200, description = "The page", content_type = "text/html")),
    tag = "pages",
)]
pub(super) async fn index() -> Response {
    INDEX.answer()
}

/// This documentation as a page
#[utoipa::path(
    get,
    path = "/docs",
    responses((status = 200, description = "The page", content_type = "text/html")),
    tag = "pages",
)]
pub(super) async fn docs() -> Response {
    DOCS.answer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_one_script_and_one_style_and_fetch_nothing() {
        for page in [&INDEX, &DOCS] {
            for tag in ["script", "style"] {
                assert_eq!(page.html.matches(&format!("<{tag}")).count(), 1);
                assert!(inside(page.html, tag).is_some_and(|text| !text.is_empty()));
            }
            for outside in [
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
                assert!(!page.html.contains(outside), "{outside}");
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
