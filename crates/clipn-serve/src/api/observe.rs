use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::App;
use super::problem::{ErrorCode, Problem};
use crate::metrics::{Counted, RequestLabels, RouteLabels};
use crate::server::Peer;

/// The header that carries a request's name through the logs.
const REQUEST_ID: &str = "x-request-id";

/// What the log calls a request whose client went away: nginx' number.
const CLIENT_GONE: u16 = 499;

/// Counts a request, times it, names it and logs it.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = app.request_ids.of(&request);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let peer = request
        .extensions()
        .get::<Peer>()
        .map(|peer| peer.0.to_string())
        .unwrap_or_default();
    let in_flight = Counted::new(&app.metrics.in_flight);
    let method = method_label(request.method());
    let seen = Seen {
        app,
        route,
        method,
        peer,
        id,
        begun: Instant::now(),
        _in_flight: in_flight,
        told: false,
    };
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = outcome.unwrap_or_else(|_| Problem::internal().into_response());
    if let Ok(value) = HeaderValue::from_str(&seen.id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let error = response.extensions().get::<ErrorCode>().map(|code| code.0);
    seen.tell(response.status().as_u16(), error);
    response
}

/// A request from its head to its answer, or to its client's going away.
struct Seen {
    app: Arc<App>,
    route: String,
    method: &'static str,
    peer: String,
    id: String,
    begun: Instant,
    _in_flight: Counted,
    told: bool,
}

impl Seen {
    fn tell(mut self, status: u16, error: Option<&'static str>) {
        self.log(status, error);
        self.told = true;
    }

    fn log(&self, status: u16, error: Option<&'static str>) {
        let Self {
            app,
            route,
            method,
            peer,
            id,
            begun,
            ..
        } = self;
        let took = begun.elapsed();
        let labels = RequestLabels {
            method,
            route: route.clone(),
            status,
        };
        app.metrics.requests.get_or_create(&labels).inc();
        app.metrics
            .latency
            .get_or_create(&RouteLabels {
                route: route.clone(),
            })
            .observe(took.as_secs_f64());
        if let Some(code) = error {
            app.metrics.error(code);
        }
        let error = error.unwrap_or_default();
        let ms = (took.as_secs_f64() * 1e5).round() / 100.0;
        match status {
            500.. => tracing::error!(id, peer, method, route, status, ms, error, "request"),
            _ if route == "/v1/classify" || !error.is_empty() => {
                tracing::info!(id, peer, method, route, status, ms, error, "request");
            }
            _ => tracing::debug!(id, peer, method, route, status, ms, "request"),
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        if !self.told {
            self.log(CLIENT_GONE, Some("client_gone"));
        }
    }
}

/// Names for requests that bring none along.
#[derive(Debug)]
pub(crate) struct RequestIds {
    boot: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let boot = since
            .map(|since| since.as_millis() as u64)
            .unwrap_or_default();
        Self {
            boot,
            next: AtomicU64::new(1),
        }
    }

    /// The name that the client gives, if it can stand in a log, else a new one.
    fn of(&self, request: &Request) -> String {
        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|id| id.to_str().ok());
        let plain = |id: &&str| {
            (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match given.filter(plain) {
            Some(id) => id.to_owned(),
            None => format!(
                "{:x}-{:x}",
                self.boot,
                self.next.fetch_add(1, Ordering::Relaxed)
            ),
        }
    }
}

/// A method's name; strange ones share one, so that nobody can fill the metrics.
fn method_label(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::POST,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let names = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"];
    known
        .iter()
        .position(|known| known == method)
        .map_or("OTHER", |at| names[at])
}
