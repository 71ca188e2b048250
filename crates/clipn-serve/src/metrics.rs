use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clipn::detector::Detection;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The media type of what [`Metrics::text`] gives.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted, under names of its own.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) queue: Gauge,
    pub(crate) queue_wait: Histogram,
    pub(crate) decode_duration: Histogram,
    pub(crate) batch_size: Histogram,
    pub(crate) batch_duration: Histogram,
    pub(crate) abandoned: Counter,
    pub(crate) worker_restarts: Counter,
    pub(crate) errors: Family<ErrorLabels, Counter>,
    images: Family<OutcomeLabels, Counter>,
    score: Histogram,
    p_value: Histogram,
    memory: Gauge<i64>,
}

/// What a request was, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) method: &'static str,
    pub(crate) route: String,
    pub(crate) status: u16,
}

/// What a request was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) route: String,
}

/// What went wrong, by its code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    pub(crate) code: &'static str,
}

/// What became of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Metrics {
    /// All at zero. `probability` says whether scores lie between 0 and 1.
    pub(crate) fn new(model: &str, probability: bool) -> Self {
        let short = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let score = match probability {
            true => Histogram::new(linear_buckets(0.05, 0.05, 20)),
            false => Histogram::new(linear_buckets(-20.0, 5.0, 29)),
        };
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            queue: Gauge::default(),
            queue_wait: short(),
            decode_duration: short(),
            batch_size: Histogram::new([1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0]),
            batch_duration: short(),
            abandoned: Counter::default(),
            worker_restarts: Counter::default(),
            errors: Family::default(),
            images: Family::default(),
            score,
            p_value: Histogram::new(linear_buckets(0.05, 0.05, 20)),
            memory: Gauge::default(),
        };
        metrics.register(model);
        metrics
    }

    fn register(&mut self, model: &str) {
        // Scraped before the first picture, the outcomes are there at zero: rates need a beginning.
        for outcome in ["label", "unknown", "error"] {
            drop(self.images.get_or_create(&OutcomeLabels { outcome }));
        }
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("model", model.to_owned()),
        ]);
        let r = self.registry.sub_registry_with_prefix("clipn");
        r.register("build", "Version and model", build);
        r.register(
            "http_requests",
            "Requests by route and status",
            self.requests.clone(),
        );
        r.register(
            "http_request_duration_seconds",
            "From a request's head to its answer",
            self.latency.clone(),
        );
        r.register(
            "http_requests_in_flight",
            "Requests in work",
            self.in_flight.clone(),
        );
        r.register(
            "http_connections",
            "Open connections",
            self.connections.clone(),
        );
        r.register(
            "http_connections_refused",
            "Connections over the limit",
            self.connections_refused.clone(),
        );
        r.register(
            "queue_images",
            "Pictures in work or waiting",
            self.queue.clone(),
        );
        r.register(
            "queue_wait_seconds",
            "From decoded to its batch's begin",
            self.queue_wait.clone(),
        );
        r.register(
            "decode_seconds",
            "Decoding and preprocessing of a picture",
            self.decode_duration.clone(),
        );
        r.register(
            "batch_images",
            "Pictures of a batch",
            self.batch_size.clone(),
        );
        r.register(
            "batch_seconds",
            "Computation of a batch",
            self.batch_duration.clone(),
        );
        r.register(
            "images",
            "Pictures by outcome: label, unknown or error",
            self.images.clone(),
        );
        r.register(
            "images_abandoned",
            "Pictures dropped because nobody waited for them",
            self.abandoned.clone(),
        );
        r.register(
            "score",
            "The score that decided, of the server's own classes",
            self.score.clone(),
        );
        r.register(
            "p_value",
            "Conformal p-values, where calibrated",
            self.p_value.clone(),
        );
        r.register(
            "errors",
            "Errors by code, of requests and of single pictures",
            self.errors.clone(),
        );
        r.register(
            "worker_restarts",
            "Workers that fell",
            self.worker_restarts.clone(),
        );
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(now());
        let process = self.registry.sub_registry_with_prefix("process");
        process.register(
            "start_time_seconds",
            "When the server started, in Unix time",
            started,
        );
        process.register(
            "resident_memory_bytes",
            "Memory in use, where the system tells",
            self.memory.clone(),
        );
    }

    /// Counts a picture's decision; `own` says that it was among the server's classes, not the request's.
    pub(crate) fn decided(&self, detection: &Detection, own: bool) {
        let outcome = if detection.label.is_some() {
            "label"
        } else {
            "unknown"
        };
        self.images.get_or_create(&OutcomeLabels { outcome }).inc();
        if own && detection.score.is_finite() {
            self.score.observe(detection.score);
            if let Some(p) = detection.p_value {
                self.p_value.observe(p);
            }
        }
    }

    /// Counts a picture without a decision.
    pub(crate) fn failed(&self, code: &'static str) {
        self.images
            .get_or_create(&OutcomeLabels { outcome: "error" })
            .inc();
        self.error(code);
    }

    /// Counts an error.
    pub(crate) fn error(&self, code: &'static str) {
        self.errors.get_or_create(&ErrorLabels { code }).inc();
    }

    /// All figures as OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                String::new()
            }
        }
    }
}

/// Counts up for as long as it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Shared by everything that counts.
pub(crate) type SharedMetrics = Arc<Metrics>;

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| since.as_secs_f64()).unwrap_or_default()
}

/// Resident memory, from Linux's `/proc`.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
