use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::{ServeError, ServeSettings};

/// Limits, threads and metrics that the engines of all image towers share.
pub(crate) struct Resources {
    /// Admission permits, one per image that is queued or in progress.
    pub(super) permits: Arc<Semaphore>,
    /// One permit per decoder thread.
    pub(super) decoders: Arc<Semaphore>,
    /// Time at which a decoder last started or finished, in milliseconds since `started`.
    decoded: AtomicU64,
    /// Threads that run the image towers.
    pub(super) pool: ThreadPool,
    /// Times of the panics within the restart window.
    pub(super) restarts: Mutex<Vec<Instant>>,
    pub(super) started: Instant,
    pub(super) metrics: Arc<Metrics>,
    /// Number of workers per engine.
    pub(super) threads: usize,
    pub(super) max_queued: usize,
    pub(super) max_batch: usize,
    pub(super) max_batch_wait: Duration,
    pub(super) max_pixels: u64,
    pub(super) deadline: Duration,
    pub(super) stuck_timeout: Duration,
}

impl Resources {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ServeError::SpawnThreads`] if the inference threads cannot be started.
    pub(crate) fn new(settings: &ServeSettings, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(settings.workers)
            .thread_name(|index| format!("clipn-tower-{index}"))
            .build()
            .map_err(|error| ServeError::SpawnThreads {
                what: "the inference threads",
                reason: error.to_string(),
            })?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(settings.max_queued_images)),
            decoders: Arc::new(Semaphore::new(settings.workers)),
            decoded: AtomicU64::new(0),
            pool,
            restarts: Mutex::default(),
            started: Instant::now(),
            metrics,
            threads: settings.workers,
            max_queued: settings.max_queued_images,
            max_batch: settings.max_batch,
            max_batch_wait: settings.max_batch_wait,
            max_pixels: settings.max_pixels,
            deadline: settings.deadline,
            stuck_timeout: settings.stuck_timeout,
        })
    }

    /// Whether no more images are admitted.
    pub(crate) fn is_full(&self) -> bool {
        self.permits.available_permits() == 0
    }

    /// Number of images that are queued or in progress.
    pub(crate) fn admitted_images(&self) -> usize {
        self.max_queued
            .saturating_sub(self.permits.available_permits())
    }

    /// Records that a decoder started or finished.
    pub(super) fn note_decoder(&self) {
        self.decoded
            .store(self.started.elapsed().as_millis() as u64, Ordering::SeqCst);
    }

    /// Time since a decoder last started or finished, if all decoders are busy and that time
    /// exceeds `stuck_timeout`.
    pub(super) fn decoders_stuck(&self) -> Option<Duration> {
        if self.decoders.available_permits() > 0 {
            return None;
        }
        let last = Duration::from_millis(self.decoded.load(Ordering::SeqCst));
        let stalled = self.started.elapsed().saturating_sub(last);
        (stalled > self.stuck_timeout).then_some(stalled)
    }
}
