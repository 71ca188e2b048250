use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ErrorCode;
use super::state::{App, Peer};
use crate::metrics::{GaugeGuard, RequestLabels, RouteLabels};

/// Header with the request ID, which is logged and returned.
const REQUEST_ID: &str = "x-request-id";

/// Label of uncommon methods, and of requests whose method is not known.
const OTHER_METHOD: &str = "OTHER";

/// Label of paths that lead nowhere, and of requests whose path is not known.
const OTHER_ROUTE: &str = "other";

/// Status that is logged if the client disconnects before the response, as in nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Middleware that assigns a request ID, records metrics and logs the request.
// Not tower-http's `request-id` and `trace`: the first keeps any ID that a client sends, the second
// does not report a request whose client disconnects before the response.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = app.request_ids.id_for(&request);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(OTHER_ROUTE, MatchedPath::as_str)
        .to_owned();
    let peer = request
        .extensions()
        .get::<Peer>()
        .map(|peer| peer.0.to_string())
        .unwrap_or_default();
    let in_flight = GaugeGuard::new(&app.metrics.in_flight);
    let method = method_label(request.method());
    let observed = ObservedRequest {
        app,
        route,
        method,
        peer,
        id,
        started: Instant::now(),
        _in_flight: in_flight,
        finished: false,
    };
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&observed.id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let error = response.extensions().get::<ErrorCode>().map(|code| code.0);
    observed.finish(response.status().as_u16(), error);
    response
}

/// Request in progress. It is recorded once: with its status when it finishes, or as closed by the
/// client when it is dropped before.
struct ObservedRequest {
    app: Arc<App>,
    route: String,
    method: &'static str,
    peer: String,
    id: String,
    started: Instant,
    _in_flight: GaugeGuard,
    finished: bool,
}

impl ObservedRequest {
    fn finish(mut self, status: u16, error: Option<&'static str>) {
        self.record(status, error);
        self.finished = true;
    }

    /// Updates the metrics and writes the log line.
    fn record(&self, status: u16, error: Option<&'static str>) {
        let Self {
            app,
            route,
            method,
            peer,
            id,
            started,
            ..
        } = self;
        let took = started.elapsed();
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
            app.metrics.record_error(code);
        }
        let error = error.unwrap_or_default();
        let ms = (took.as_secs_f64() * 1e5).round() / 100.0;
        match status {
            500.. => tracing::error!(id, peer, method, route, status, ms, error, "request"),
            _ if route.ends_with("/classify") || !error.is_empty() => {
                tracing::info!(id, peer, method, route, status, ms, error, "request");
            }
            _ => tracing::debug!(id, peer, method, route, status, ms, "request"),
        }
    }
}

impl Drop for ObservedRequest {
    fn drop(&mut self) {
        if !self.finished {
            self.record(CLIENT_CLOSED_REQUEST, Some("client_gone"));
        }
    }
}

/// Counts and logs a request that the HTTP layer refused, before its method and its route were known.
pub(crate) fn observe_malformed(app: &App, peer: SocketAddr, status: u16, error: &'static str) {
    let labels = RequestLabels {
        method: OTHER_METHOD,
        route: OTHER_ROUTE.to_owned(),
        status,
    };
    app.metrics.requests.get_or_create(&labels).inc();
    app.metrics.record_error(error);
    tracing::info!(%peer, status, error, "malformed request");
}

/// Generator of IDs for requests that have none.
#[derive(Debug)]
pub(super) struct RequestIds {
    boot: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let boot = since
            .map(|since| since.as_millis() as u64)
            .unwrap_or_default();
        Self {
            boot,
            next: AtomicU64::new(1),
        }
    }

    /// Returns the client's ID if it has 1 to 64 characters, all alphanumeric or one of `-_.`, else
    /// a new ID.
    fn id_for(&self, request: &Request) -> String {
        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|id| id.to_str().ok());
        let is_valid = |id: &&str| {
            (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match given.filter(is_valid) {
            Some(id) => id.to_owned(),
            None => format!(
                "{:x}-{:x}",
                self.boot,
                self.next.fetch_add(1, Ordering::Relaxed)
            ),
        }
    }
}

/// Metric label of a method. Uncommon methods share one, which bounds the number of series.
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
        .map_or(OTHER_METHOD, |at| names[at])
}
