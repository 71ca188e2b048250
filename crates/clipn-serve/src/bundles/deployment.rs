use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use clipn::detector::Detector;

use super::ServedModel;
use super::source::WatchedFile;
use super::watch::WatchState;
use crate::classes::Classes;
use crate::engine::Engine;

/// A model in service. A request keeps the one that it started with until its response.
pub(crate) struct Deployment {
    /// Name of the bundle.
    pub(crate) bundle: String,
    /// Name of the model in responses.
    pub(crate) model: String,
    pub(crate) detector: Detector,
    pub(crate) classes: Arc<Classes>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) since: SystemTime,
}

impl Deployment {
    pub(super) fn new(bundle: String, model: ServedModel, engine: Arc<Engine>) -> Self {
        let ServedModel {
            detector,
            name,
            encoder,
        } = model;
        Self {
            bundle,
            model: name,
            classes: Arc::new(Classes::new(detector.classifier(), encoder)),
            detector,
            engine,
            since: SystemTime::now(),
        }
    }

    /// Words of a class name that did not occur in the training of the text towers, as far as it is known.
    pub(crate) fn unseen_words(&self, name: &str) -> Vec<String> {
        let encoder = self.classes.encoder();
        encoder
            .map(|encoder| encoder.unseen(name))
            .unwrap_or_default()
    }

    /// Whether the threshold was calibrated on images.
    pub(crate) fn is_calibrated(&self) -> bool {
        self.detector.calibration().is_some()
    }
}

impl From<&Deployment> for ServedModel {
    fn from(deployment: &Deployment) -> Self {
        Self {
            detector: deployment.detector.clone(),
            name: deployment.model.clone(),
            encoder: deployment.classes.encoder().cloned(),
        }
    }
}

/// A bundle's name with the model that is in service under it.
pub(crate) struct Slot {
    name: String,
    current: RwLock<Arc<Deployment>>,
    /// Number of times that the model was replaced.
    reloads: AtomicU64,
    /// Whether the file is missing, or has changed but could not be opened.
    is_stale: AtomicBool,
    /// File to watch, with what was seen of it.
    pub(super) file: Option<(WatchedFile, Mutex<WatchState>)>,
}

impl Slot {
    pub(super) fn new(name: String, deployment: Deployment, file: Option<WatchedFile>) -> Self {
        Self {
            name,
            current: RwLock::new(Arc::new(deployment)),
            reloads: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
            file: file.map(|file| {
                let state = WatchState::new(file.opened);
                (file, Mutex::new(state))
            }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The model in service.
    pub(crate) fn current(&self) -> Arc<Deployment> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another model into service.
    pub(super) fn replace(&self, deployment: Deployment) {
        let deployment = Arc::new(deployment);
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, deployment)
        };
        // The last owner frees the old model: here, or a request in progress.
        drop(old);
        self.reloads.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn set_stale(&self, is_stale: bool) {
        self.is_stale.store(is_stale, Ordering::SeqCst);
    }

    /// Whether the file is missing, or has changed but could not be opened: an older model is in
    /// service.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::SeqCst)
    }

    /// Number of times that the model was replaced because its file changed.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::SeqCst)
    }
}
