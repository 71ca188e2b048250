//! HTTP API: routes, requests and responses, errors, middleware and web pages.
mod body;
mod bundles;
mod classes;
mod classify;
mod error;
mod guard;
mod hosts;
mod input;
mod observe;
mod openapi;
mod pages;
mod response;
mod selected;
mod state;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

pub(crate) use observe::observe_malformed;
pub use openapi::openapi;
pub(crate) use state::{App, Peer};

/// Headers of every response, unless its handler sets them.
pub(crate) const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Route of the API.
struct Route {
    method: &'static str,
    path: &'static str,
    /// Whether it requires an API key, if the server has any.
    requires_key: bool,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// All routes.
const ROUTES: [Route; 13] = [
    Route {
        method: "POST",
        path: "/v1/classify",
        requires_key: true,
        handler: || post(classify::classify),
    },
    Route {
        method: "POST",
        path: "/v1/classes",
        requires_key: true,
        handler: || post(classes::classes),
    },
    Route {
        method: "GET",
        path: "/v1/info",
        requires_key: true,
        handler: || get(status::info),
    },
    Route {
        method: "GET",
        path: "/v1/bundles",
        requires_key: true,
        handler: || get(bundles::bundles),
    },
    Route {
        method: "POST",
        path: "/v1/bundles/{name}/classify",
        requires_key: true,
        handler: || post(bundles::classify_with),
    },
    Route {
        method: "POST",
        path: "/v1/bundles/{name}/classes",
        requires_key: true,
        handler: || post(bundles::classes_of),
    },
    Route {
        method: "GET",
        path: "/v1/bundles/{name}/info",
        requires_key: true,
        handler: || get(bundles::info_of),
    },
    Route {
        method: "GET",
        path: "/metrics",
        requires_key: true,
        handler: || get(status::metrics),
    },
    Route {
        method: "GET",
        path: "/health",
        requires_key: false,
        handler: || get(status::health),
    },
    Route {
        method: "GET",
        path: "/ready",
        requires_key: false,
        handler: || get(status::ready),
    },
    Route {
        method: "GET",
        path: "/openapi.json",
        requires_key: false,
        handler: || get(openapi::document),
    },
    Route {
        method: "GET",
        path: "/docs",
        requires_key: false,
        handler: || get(pages::docs),
    },
    Route {
        method: "GET",
        path: "/",
        requires_key: false,
        handler: || get(pages::index),
    },
];

/// Returns the method and path of every route.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method, route.path))
}

/// Builds the router with all middleware.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let handler = (route.handler)();
        let handler = if route.requires_key {
            handler.layer(from_fn_with_state(Arc::clone(app), guard::require_api_key))
        } else {
            handler
        };
        router = router.route(route.path, handler);
    }
    let router = router
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::not_found);
    let router = router.layer(from_fn_with_state(Arc::clone(app), hosts::check));
    with_common_layers(router)
        .layer(from_fn_with_state(Arc::clone(app), observe::observe))
        .with_state(Arc::clone(app))
}

/// Adds the layers that need no state: a panic becomes an error response, and every response gets
/// [`HEADERS`].
fn with_common_layers<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let panicked = |_| error::ApiError::internal().into_response();
    let mut router = router.layer(CatchPanicLayer::custom(panicked));
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        router = router.layer(SetResponseHeaderLayer::if_not_present(name, value));
    }
    router
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::Response;
    use http_body_util::BodyExt;
    use tower::Service;

    use super::*;

    async fn get_root(handler: MethodRouter) -> Response {
        let mut router = with_common_layers(Router::new().route("/", handler));
        router.call(Request::new(Body::empty())).await.unwrap()
    }

    #[tokio::test]
    async fn panic_in_a_handler_is_an_error_response() {
        async fn panics() {
            panic!("secret");
        }
        let response = get_root(get(panics)).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(
            response.extensions().get::<error::ErrorCode>().unwrap().0,
            "internal"
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"error":{"code":"internal","message":"internal server error; see the server log"}}"#
        );
    }

    #[tokio::test]
    async fn handlers_may_set_common_headers_themselves() {
        let handler = || async { [(header::CACHE_CONTROL, "max-age=1")] };
        let response = get_root(get(handler)).await;
        assert_eq!(response.headers()["cache-control"], "max-age=1");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }
}
