//! HTTP API: routes, requests and responses, errors, middleware and web pages.
mod body;
mod classes;
mod classify;
mod error;
mod guard;
mod input;
mod observe;
mod openapi;
mod pages;
mod response;
mod state;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};

pub(crate) use body::BodyLimits;
pub(crate) use observe::RequestIds;
pub use openapi::openapi;
pub(crate) use state::{App, TextSlot};

/// Route of the API.
struct Route {
    method: &'static str,
    path: &'static str,
    /// Whether it requires an API key, if the server has any.
    requires_key: bool,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// All routes.
const ROUTES: [Route; 9] = [
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
    router
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::not_found)
        .layer(from_fn(guard::security_headers))
        .layer(from_fn_with_state(Arc::clone(app), observe::observe))
        .with_state(Arc::clone(app))
}
