//! What is asked and answered: the routes, their requests and answers, the one form of errors, the pages.
mod answer;
mod body;
mod classes;
mod classify;
mod documentation;
mod guard;
mod observe;
mod pages;
mod pictures;
mod problem;
mod state;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};

pub(crate) use body::BodyLimits;
pub use documentation::openapi;
pub(crate) use observe::RequestIds;
pub(crate) use state::{App, Texts};

/// One thing that can be asked.
struct Route {
    method: &'static str,
    path: &'static str,
    /// Whether it takes a key, where there are keys.
    guarded: bool,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// Everything that can be asked.
const ROUTES: [Route; 9] = [
    Route {
        method: "POST",
        path: "/v1/classify",
        guarded: true,
        handler: || post(classify::classify),
    },
    Route {
        method: "POST",
        path: "/v1/classes",
        guarded: true,
        handler: || post(classes::classes),
    },
    Route {
        method: "GET",
        path: "/v1/info",
        guarded: true,
        handler: || get(status::info),
    },
    Route {
        method: "GET",
        path: "/metrics",
        guarded: true,
        handler: || get(status::metrics),
    },
    Route {
        method: "GET",
        path: "/health",
        guarded: false,
        handler: || get(status::health),
    },
    Route {
        method: "GET",
        path: "/ready",
        guarded: false,
        handler: || get(status::ready),
    },
    Route {
        method: "GET",
        path: "/openapi.json",
        guarded: false,
        handler: || get(documentation::document),
    },
    Route {
        method: "GET",
        path: "/docs",
        guarded: false,
        handler: || get(pages::docs),
    },
    Route {
        method: "GET",
        path: "/",
        guarded: false,
        handler: || get(pages::index),
    },
];

/// Method and path of everything that can be asked.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method, route.path))
}

/// The routes with everything around them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let handler = (route.handler)();
        let handler = match route.guarded {
            true => handler.layer(from_fn_with_state(Arc::clone(app), guard::keys)),
            false => handler,
        };
        router = router.route(route.path, handler);
    }
    router
        .method_not_allowed_fallback(problem::wrong_method)
        .fallback(problem::no_such_path)
        .layer(from_fn(guard::headers))
        .layer(from_fn_with_state(Arc::clone(app), observe::observe))
        .with_state(Arc::clone(app))
}
