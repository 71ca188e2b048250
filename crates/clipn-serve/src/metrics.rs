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

use crate::classify_error::ClassifyError;

/// Media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics of the server in a registry of their own.
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

/// Labels of a completed request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) method: &'static str,
    pub(crate) route: String,
    pub(crate) status: u16,
}

/// Label of a request's route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) route: String,
}

/// Label of an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    pub(crate) code: &'static str,
}

/// Label of an image's outcome: `label`, `unknown` or `error`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Registers all metrics. `is_probability` selects score buckets from 0 to 1 rather than for
    /// unbounded scores.
    pub(crate) fn new(model: &str, is_probability: bool) -> Self {
        let short = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let score = if is_probability {
            Histogram::new(linear_buckets(0.05, 0.05, 20))
        } else {
            Histogram::new(linear_buckets(-20.0, 5.0, 29))
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
        // Create the outcomes at zero before the first image: `rate()` needs an initial sample.
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
            "HTTP requests by method, route and status",
            self.requests.clone(),
        );
        r.register(
            "http_request_duration_seconds",
            "Time from a request's head to its response, by route",
            self.latency.clone(),
        );
        r.register(
            "http_requests_in_flight",
            "Requests in progress",
            self.in_flight.clone(),
        );
        r.register(
            "http_connections",
            "Open connections",
            self.connections.clone(),
        );
        r.register(
            "http_connections_refused",
            "Connections refused because of the connection limit",
            self.connections_refused.clone(),
        );
        r.register(
            "queue_images",
            "Admitted images, queued or in progress",
            self.queue.clone(),
        );
        r.register(
            "queue_wait_seconds",
            "Time that a decoded image waits for its batch",
            self.queue_wait.clone(),
        );
        r.register(
            "decode_seconds",
            "Decoding and preprocessing time per image",
            self.decode_duration.clone(),
        );
        r.register("batch_images", "Images per batch", self.batch_size.clone());
        r.register(
            "batch_seconds",
            "Inference time per batch",
            self.batch_duration.clone(),
        );
        r.register(
            "images",
            "Images by outcome: label, unknown or error",
            self.images.clone(),
        );
        r.register(
            "images_abandoned",
            "Images dropped because the client disconnected",
            self.abandoned.clone(),
        );
        r.register(
            "score",
            "Score compared with the threshold, for the server's own classes",
            self.score.clone(),
        );
        r.register(
            "p_value",
            "Conformal p-values of a calibrated detector",
            self.p_value.clone(),
        );
        r.register(
            "errors",
            "Errors of requests and of single images, by code",
            self.errors.clone(),
        );
        r.register(
            "worker_restarts",
            "Worker restarts after a panic",
            self.worker_restarts.clone(),
        );
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(now());
        let process = self.registry.sub_registry_with_prefix("process");
        process.register(
            "start_time_seconds",
            "Start time of the process in seconds since the Unix epoch",
            started,
        );
        process.register(
            "resident_memory_bytes",
            "Resident memory size in bytes (Linux only)",
            self.memory.clone(),
        );
    }

    /// Records the decision for an image, or its error. `own_classes` is whether it was among the
    /// server's own classes rather than the request's; only those scores enter the histograms.
    pub(crate) fn record_image(
        &self,
        result: &Result<Detection, ClassifyError>,
        own_classes: bool,
    ) {
        let outcome = match result {
            Ok(detection) if detection.label.is_some() => "label",
            Ok(_) => "unknown",
            Err(_) => "error",
        };
        self.images.get_or_create(&OutcomeLabels { outcome }).inc();
        match result {
            Ok(detection) if own_classes && detection.score.is_finite() => {
                self.score.observe(detection.score);
                if let Some(p) = detection.p_value {
                    self.p_value.observe(p);
                }
            }
            Ok(_) => {}
            Err(error) => self.record_error(error.code()),
        }
    }

    /// Increments the error counter.
    pub(crate) fn record_error(&self, code: &'static str) {
        self.errors.get_or_create(&ErrorLabels { code }).inc();
    }

    /// Encodes all metrics as OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "cannot encode metrics");
                String::new()
            }
        }
    }
}

/// RAII guard that increments a gauge and decrements it on drop.
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Shared handle on the metrics.
pub(crate) type SharedMetrics = Arc<Metrics>;

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| since.as_secs_f64()).unwrap_or_default()
}

/// Resident set size in bytes, from `/proc/self/status`. `None` on systems other than Linux.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
