use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use clipn::checkpoint::CheckpointError;
use clipn::classifier::{Classifier, ClassifierError};
use clipn::detector::Detector;
use clipn::error::chain_in_one_line;
use clipn::model::ModelError;
use clipn::progress::{NoProgress, Progress};
use clipn::prompts::{duplicate_names, is_reserved_name};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::body::BodyLimits;
use super::error::{ApiError, shown};
use super::observe::RequestIds;
use crate::bundles::{Bundles, Deployment, ServedBundle, Slot, watch};
use crate::classes::{ClassEncoder, Classes};
use crate::classify_error::ClassifyError;
use crate::engine::{Health, Resources};
use crate::metrics::{MeasuredBundle, Metrics, SharedMetrics};
use crate::{ServeError, ServeSettings};

/// Maximum number of requests that use or wait for the text towers.
const MAX_WAITERS: usize = 4;

/// Maximum length of a class name in characters.
pub(super) const MAX_NAME_CHARS: usize = 100;

/// Socket address of a request's client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// State shared by all requests.
pub(crate) struct App {
    pub(crate) settings: ServeSettings,
    pub(crate) bundles: Bundles,
    pub(crate) resources: Arc<Resources>,
    pub(crate) metrics: SharedMetrics,
    pub(super) bodies: BodyLimits,
    pub(super) request_ids: RequestIds,
    stopping: AtomicBool,
    text_slot: TextSlot,
}

/// Admission to the text towers: one classifier is built at a time, and at most [`MAX_WAITERS`]
/// requests use or wait for the slot.
struct TextSlot {
    slot: Semaphore,
    waiters: AtomicUsize,
}

impl Default for TextSlot {
    fn default() -> Self {
        Self {
            slot: Semaphore::new(1),
            waiters: AtomicUsize::new(0),
        }
    }
}

impl App {
    /// Starts the workers.
    ///
    /// # Errors
    /// [`ServeError::InvalidSetting`] if the names of the bundles are not valid,
    /// [`ServeError::SpawnThreads`] if threads cannot be started.
    pub(crate) fn start(
        settings: ServeSettings,
        bundles: Vec<ServedBundle>,
    ) -> Result<Self, ServeError> {
        let measured: Vec<MeasuredBundle<'_>> = bundles.iter().map(measured).collect();
        let metrics = Arc::new(Metrics::new(&measured));
        let resources = Arc::new(Resources::new(&settings, Arc::clone(&metrics))?);
        let bundles = Bundles::start(bundles, &resources)?;
        let bodies = BodyLimits::new(
            settings.max_request_bytes,
            settings.body_budget(),
            settings.read_timeout,
        );
        Ok(Self {
            settings,
            bundles,
            resources,
            metrics,
            bodies,
            request_ids: RequestIds::new(),
            stopping: AtomicBool::new(false),
            text_slot: TextSlot::default(),
        })
    }

    /// Names of the bundles, separated by commas.
    pub(crate) fn bundle_names(&self) -> String {
        let names: Vec<&str> = self.bundles.iter().map(Slot::name).collect();
        names.join(", ")
    }

    /// Polls the files of bundles once.
    pub(crate) fn watch_bundles(&self) {
        watch(&self.bundles, &self.resources, &self.metrics);
    }

    /// Makes the workers exit when their queues are empty.
    pub(crate) fn close(&self) {
        for (_, engine) in self.bundles.engines() {
            engine.close();
        }
    }

    pub(super) fn health(&self) -> Health {
        let mut health = Health::new(&self.resources, &self.bundles.engines());
        for slot in self.bundles.iter() {
            let deployment = slot.current();
            let encoder = deployment.classes.encoder();
            if let Some(Err(error)) = encoder.map(ClassEncoder::check_unchanged) {
                health.add_problem(error.to_string());
            }
        }
        health
    }

    /// Makes `/ready` report the shutdown.
    pub(crate) fn begin_shutdown(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns the detector for a request's classes, or the server's own for `None`.
    pub(super) async fn detector_for(
        &self,
        deployment: &Deployment,
        classes: Option<Vec<String>>,
        top: usize,
        deadline: Instant,
    ) -> Result<Detector, ApiError> {
        let Some(names) = classes else {
            return Ok(deployment.detector.clone().with_top_k(top));
        };
        let names = self.validate_names(&names)?;
        let own = &deployment.classes;
        let custom = own.custom(&names);
        if let (Some(first), None) = (custom.first(), own.encoder()) {
            return Err(ApiError::new(
                422,
                "classes_fixed",
                format!(
                    "unknown class `{}`: this server has no text towers for custom classes; \
                     see the classes in /v1/info",
                    shown(first)
                ),
            ));
        }
        let classifier = if own.is_ready(&names) {
            own.classifier(&names, &NoProgress)
                .map_err(|error| bad_classes(&error))?
        } else {
            self.encode(own, names, deadline).await?
        };
        let detector = deployment.detector.with_classifier(classifier);
        Ok(detector
            .map_err(|error| bad_classes(&error))?
            .with_top_k(top))
    }

    /// Builds a classifier on a blocking thread. The work is cancelled if the request is dropped.
    async fn encode(
        &self,
        classes: &Arc<Classes>,
        names: Vec<String>,
        deadline: Instant,
    ) -> Result<Classifier, ApiError> {
        let waiter = WaiterGuard::new(&self.text_slot.waiters)?;
        let deadline_exceeded = |_| {
            ApiError::from(ClassifyError::Deadline {
                millis: self.settings.deadline.as_millis(),
            })
        };
        let _permit = timeout_at(deadline.into(), self.text_slot.slot.acquire())
            .await
            .map_err(deadline_exceeded)?
            .map_err(|_| ApiError::from(ClassifyError::Stopping))?;
        let cancel = CancelOnDrop::default();
        let (classes, progress) = (Arc::clone(classes), CancelFlag(Arc::clone(&cancel.0)));
        let task = tokio::task::spawn_blocking(move || classes.classifier(&names, &progress));
        let classifier = timeout_at(deadline.into(), task)
            .await
            .map_err(deadline_exceeded)?;
        drop(waiter);
        classifier
            .map_err(|_| ApiError::internal())?
            .map_err(|error| failed_classes(&error))
    }

    /// Trims and validates the class names of a request.
    fn validate_names(&self, names: &[String]) -> Result<Vec<String>, ApiError> {
        let bad = |message: String| Err(ApiError::new(422, "bad_classes", message));
        let max = self.settings.max_classes;
        if names.is_empty() || names.len() > max {
            return bad(format!("expected 1 to {max} classes, got {}", names.len()));
        }
        let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
        for (index, name) in names.iter().enumerate() {
            let number = index + 1;
            if name.is_empty() {
                return bad(format!("class {number} has an empty name"));
            }
            if name.chars().count() > MAX_NAME_CHARS {
                return bad(format!(
                    "the name of class {number} exceeds the limit of {MAX_NAME_CHARS} characters"
                ));
            }
            if name.chars().any(char::is_control) {
                return bad(format!(
                    "the name of class {number} contains control characters"
                ));
            }
            // Stands for bytes that are not UTF-8 in a query or a form.
            if name.contains(char::REPLACEMENT_CHARACTER) {
                return bad(format!("the name of class {number} is not valid UTF-8"));
            }
            if is_reserved_name(name) {
                return bad(format!(
                    "the name of class {number} ({}) is reserved for images that belong to no class",
                    shown(name)
                ));
            }
        }
        match duplicate_names(&names).first() {
            Some(group) => {
                let (number, name) = (group[1] + 1, &names[group[1]]);
                bad(format!(
                    "duplicate class name: class {number} ({})",
                    shown(name)
                ))
            }
            None => Ok(names),
        }
    }
}

fn measured(bundle: &ServedBundle) -> MeasuredBundle<'_> {
    let model = bundle.model();
    MeasuredBundle {
        name: bundle.name(),
        model: &model.name,
        has_probabilities: model.detector.rule().score().is_probability(),
    }
}

fn bad_classes(error: &(dyn std::error::Error + 'static)) -> ApiError {
    ApiError::new(422, "bad_classes", chain_in_one_line(error))
}

/// The error of encoding classes: theirs, or that of weights which are no longer those of the server.
fn failed_classes(error: &ClassifierError) -> ApiError {
    match error {
        ClassifierError::Model(ModelError::Checkpoint(CheckpointError::Changed(changed))) => {
            let path = changed.path.display();
            tracing::error!(%path, "weights were changed in place; restart the server");
            let message = "the weights of the server were changed on disk; it must be restarted";
            ApiError::new(500, "weights_changed", message)
        }
        error => bad_classes(error),
    }
}

/// RAII guard of a request that uses or waits for the text towers.
struct WaiterGuard<'a>(&'a AtomicUsize);

impl<'a> WaiterGuard<'a> {
    fn new(count: &'a AtomicUsize) -> Result<Self, ApiError> {
        let waiter = Self(count);
        if count.fetch_add(1, Ordering::SeqCst) < MAX_WAITERS {
            return Ok(waiter);
        }
        let message = "too many requests with custom classes; retry later";
        Err(ApiError::new(429, "texts_busy", message))
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sets its flag when it is dropped with its request.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Progress that reports cancellation once its flag is set.
struct CancelFlag(Arc<AtomicBool>);

impl Progress for CancelFlag {
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
