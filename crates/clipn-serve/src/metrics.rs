use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clipn::detector::Detection;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
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
    pub(crate) connections_shed: Counter,
    pub(crate) queue: Gauge,
    pub(crate) queue_wait: Histogram,
    pub(crate) decode_duration: Histogram,
    pub(crate) batch_size: Histogram,
    pub(crate) batch_duration: Histogram,
    pub(crate) abandoned: Counter,
    pub(crate) worker_restarts: Counter,
    pub(crate) errors: Family<ErrorLabels, Counter>,
    images: Family<OutcomeLabels, Counter>,
    score: Family<BundleLabels, Histogram, ScoreBuckets>,
    p_value: Family<BundleLabels, Histogram, fn() -> Histogram>,
    reloads: Family<ReloadLabels, Counter>,
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

/// Labels of an image's outcome: `label`, `unknown` or `error`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    bundle: String,
    outcome: &'static str,
}

/// Label of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    bundle: String,
}

/// Labels of a reload: `success` or `failure`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    bundle: String,
    outcome: &'static str,
}

/// Histogram for the scores of all bundles: buckets from 0 to 1 if some score is a probability, and
/// wide ones if some score has no bounds.
#[derive(Debug, Clone, Copy)]
struct ScoreBuckets {
    has_probabilities: bool,
    has_unbounded: bool,
}

impl MetricConstructor<Histogram> for ScoreBuckets {
    fn new_metric(&self) -> Histogram {
        let bounded = linear_buckets(0.05, 0.05, 20).filter(|_| self.has_probabilities);
        let unbounded = linear_buckets(-20.0, 5.0, 29).filter(|_| self.has_unbounded);
        let mut buckets: Vec<f64> = bounded.chain(unbounded).collect();
        buckets.sort_by(f64::total_cmp);
        Histogram::new(buckets)
    }
}

/// What the metrics need to know of a bundle.
pub(crate) struct MeasuredBundle<'a> {
    pub(crate) name: &'a str,
    pub(crate) model: &'a str,
    /// Whether the score that decides is a probability.
    pub(crate) has_probabilities: bool,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn new(bundles: &[MeasuredBundle<'_>]) -> Self {
        let short = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let score = Family::new_with_constructor(ScoreBuckets {
            has_probabilities: bundles.iter().any(|bundle| bundle.has_probabilities),
            has_unbounded: bundles.iter().any(|bundle| !bundle.has_probabilities),
        });
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            connections_shed: Counter::default(),
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
            p_value: Family::new_with_constructor(|| {
                Histogram::new(linear_buckets(0.05, 0.05, 20))
            }),
            reloads: Family::default(),
            memory: Gauge::default(),
        };
        metrics.register(bundles.first().map_or("", |bundle| bundle.model));
        metrics.create_series(bundles);
        metrics
    }

    /// Creates the series of each bundle before its first image: `rate()` needs an initial sample.
    fn create_series(&self, bundles: &[MeasuredBundle<'_>]) {
        for bundle in bundles {
            let bundle = bundle.name.to_owned();
            for outcome in ["label", "unknown", "error"] {
                drop(self.images.get_or_create(&OutcomeLabels {
                    bundle: bundle.clone(),
                    outcome,
                }));
            }
            for outcome in ["success", "failure"] {
                drop(self.reloads.get_or_create(&ReloadLabels {
                    bundle: bundle.clone(),
                    outcome,
                }));
            }
            let labels = BundleLabels { bundle };
            drop(self.score.get_or_create(&labels));
            drop(self.p_value.get_or_create(&labels));
        }
    }

    fn register(&mut self, model: &str) {
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
            "http_connections_shed",
            "Connections of slow or idle clients closed to make room for others",
            self.connections_shed.clone(),
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
            "Images by bundle and outcome: label, unknown or error",
            self.images.clone(),
        );
        r.register(
            "images_abandoned",
            "Images dropped because the client disconnected",
            self.abandoned.clone(),
        );
        r.register(
            "score",
            "Score compared with the threshold, by bundle, for its own classes",
            self.score.clone(),
        );
        r.register(
            "p_value",
            "Conformal p-values of a calibrated detector, by bundle",
            self.p_value.clone(),
        );
        r.register(
            "bundle_reloads",
            "Bundles opened again after a change of their file, by bundle and outcome: success or failure",
            self.reloads.clone(),
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
    /// bundle's own classes rather than the request's; only those scores enter the histograms.
    pub(crate) fn record_image(
        &self,
        bundle: &str,
        result: &Result<Detection, ClassifyError>,
        own_classes: bool,
    ) {
        let outcome = match result {
            Ok(detection) if detection.label.is_some() => "label",
            Ok(_) => "unknown",
            Err(_) => "error",
        };
        let bundle = bundle.to_owned();
        self.images
            .get_or_create(&OutcomeLabels {
                bundle: bundle.clone(),
                outcome,
            })
            .inc();
        match result {
            Ok(detection) if own_classes && detection.score.is_finite() => {
                let labels = BundleLabels { bundle };
                self.score.get_or_create(&labels).observe(detection.score);
                if let Some(p) = detection.p_value {
                    self.p_value.get_or_create(&labels).observe(p);
                }
            }
            _ => {}
        }
    }

    /// Records that a bundle was opened again, or could not be.
    pub(crate) fn record_reload(&self, bundle: &str, succeeded: bool) {
        let outcome = if succeeded { "success" } else { "failure" };
        let bundle = bundle.to_owned();
        self.reloads
            .get_or_create(&ReloadLabels { bundle, outcome })
            .inc();
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
