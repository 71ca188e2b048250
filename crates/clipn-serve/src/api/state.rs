use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use clipn::classifier::ClassifierError;
use clipn::detector::Detector;
use clipn::progress::Progress;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::body::BodyLimits;
use super::error::ApiError;
use super::observe::RequestIds;
use crate::ServeSettings;
use crate::classes::Classes;
use crate::classify_error::ClassifyError;
use crate::engine::Engine;
use crate::metrics::SharedMetrics;

/// Maximum number of requests that use or wait for the text towers.
const MAX_WAITERS: usize = 4;

/// Maximum length of a class name in characters.
pub(super) const MAX_NAME_CHARS: usize = 100;

/// State shared by all requests.
pub(crate) struct App {
    pub(crate) settings: ServeSettings,
    pub(crate) detector: Detector,
    pub(crate) model: String,
    pub(crate) engine: Engine,
    pub(crate) classes: Arc<Classes>,
    pub(crate) metrics: SharedMetrics,
    pub(crate) bodies: BodyLimits,
    pub(crate) request_ids: RequestIds,
    pub(crate) stopping: AtomicBool,
    pub(crate) text_slot: TextSlot,
}

/// Admission to the text towers: one classifier is built at a time, and at most [`MAX_WAITERS`]
/// requests use or wait for the slot.
pub(crate) struct TextSlot {
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
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns the detector for a request's classes, or the server's own for `None`.
    pub(super) async fn detector_for(
        &self,
        classes: Option<Vec<String>>,
        top: usize,
        deadline: Instant,
    ) -> Result<Detector, ApiError> {
        let Some(names) = classes else {
            return Ok(self.detector.clone().with_top_k(top));
        };
        let names = self.validate_names(&names)?;
        let custom = self.classes.custom(&names);
        if let (Some(first), None) = (custom.first(), self.classes.encoder()) {
            return Err(ApiError::new(
                422,
                "classes_fixed",
                format!(
                    "unknown class `{first}`: this server has no text towers for custom classes; \
                     see the classes in /v1/info"
                ),
            ));
        }
        let classifier = if self.classes.is_ready(&names) {
            self.classes
                .classifier(&names, &clipn::progress::NoProgress)
                .map_err(|error| bad_classes(&error))?
        } else {
            self.encode(names, deadline).await?
        };
        let detector = self.detector.with_classifier(classifier);
        let invalid = |error: clipn::detector::DetectorError| {
            ApiError::new(422, "bad_classes", error.to_string())
        };
        Ok(detector.map_err(invalid)?.with_top_k(top))
    }

    /// Builds a classifier on a blocking thread. The work is cancelled if the request is dropped.
    async fn encode(
        &self,
        names: Vec<String>,
        deadline: Instant,
    ) -> Result<clipn::classifier::Classifier, ApiError> {
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
        let (classes, progress) = (Arc::clone(&self.classes), CancelFlag(Arc::clone(&cancel.0)));
        let task = tokio::task::spawn_blocking(move || classes.classifier(&names, &progress));
        let classifier = timeout_at(deadline.into(), task)
            .await
            .map_err(deadline_exceeded)?;
        drop(waiter);
        classifier
            .map_err(|_| ApiError::internal())?
            .map_err(|error| bad_classes(&error))
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
            if names[..index].contains(name) {
                return bad(format!("duplicate class name: class {number} ({name})"));
            }
        }
        Ok(names)
    }
}

fn bad_classes(error: &ClassifierError) -> ApiError {
    ApiError::new(422, "bad_classes", error.to_string())
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
