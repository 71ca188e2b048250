//! Inference engine: turns the bytes of an image into a decision.
//!
//! A fixed number of threads decodes images, and workers run the image tower on dynamic batches.
//! Admission is bounded, each image has a deadline, and workers restart after a panic.
mod health;
mod queue;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clipn::detector::{Detection, Detector};
use clipn::image::Preprocessing;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;

pub(crate) use health::Health;
use queue::{Job, PendingImage, Queue};
use worker::WorkerState;

use crate::classify_error::ClassifyError;
use crate::metrics::Metrics;
use crate::{ServeError, ServeSettings};

/// Cloneable handle on the workers and their queue.
#[derive(Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

/// State shared by all workers.
struct Shared {
    queue: Arc<Queue>,
    /// Admission permits, one per image that is queued or in progress.
    permits: Arc<Semaphore>,
    /// One permit per decoder thread.
    decoders: Arc<Semaphore>,
    /// Time at which a decoder last started or finished, in milliseconds since `started`.
    decoded: AtomicU64,
    /// Source of the image tower. The decision is made by each image's own detector.
    detector: Detector,
    preprocessing: Preprocessing,
    pool: ThreadPool,
    workers: Vec<WorkerState>,
    /// Times of the panics within the restart window.
    restarts: Mutex<Vec<Instant>>,
    started: Instant,
    metrics: Arc<Metrics>,
    max_queued: usize,
    max_batch: usize,
    max_batch_wait: Duration,
    deadline: Duration,
    stuck_timeout: Duration,
}

/// Admission of one image.
pub(crate) struct Ticket {
    permit: OwnedSemaphorePermit,
    pending: PendingImage,
}

impl Engine {
    /// Starts the workers.
    pub(crate) fn start(
        settings: &ServeSettings,
        detector: &Detector,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ServeError> {
        let threads = ThreadPoolBuilder::new().num_threads(settings.workers);
        let pool = threads
            .thread_name(|index| format!("clipn-tower-{index}"))
            .build();
        let failed = |what, reason: String| ServeError::SpawnThreads { what, reason };
        let mut preprocessing = detector.preprocessing().clone();
        preprocessing.decode.max_pixels = preprocessing.decode.max_pixels.min(settings.max_pixels);
        let shared = Arc::new(Shared {
            queue: Arc::default(),
            permits: Arc::new(Semaphore::new(settings.max_queued_images)),
            decoders: Arc::new(Semaphore::new(settings.workers)),
            decoded: AtomicU64::new(0),
            detector: detector.clone(),
            preprocessing,
            pool: pool.map_err(|error| failed("the inference threads", error.to_string()))?,
            workers: (0..settings.workers)
                .map(|_| WorkerState::default())
                .collect(),
            restarts: Mutex::default(),
            started: Instant::now(),
            metrics,
            max_queued: settings.max_queued_images,
            max_batch: settings.max_batch,
            max_batch_wait: settings.max_batch_wait,
            deadline: settings.deadline,
            stuck_timeout: settings.stuck_timeout,
        });
        for index in 0..settings.workers {
            worker::start(&shared, index)
                .map_err(|error| failed("the workers", error.to_string()))?;
        }
        Ok(Self { shared })
    }

    /// Admits `count` images together.
    ///
    /// # Errors
    /// [`ClassifyError::NoWorkers`] if all workers are dead, [`ClassifyError::QueueFull`] if fewer
    /// than `count` permits are free.
    pub(crate) fn admit(&self, count: usize) -> Result<Vec<Ticket>, ClassifyError> {
        let shared = &self.shared;
        if !shared.any_alive() {
            return Err(ClassifyError::NoWorkers);
        }
        let permits = Arc::clone(&shared.permits).try_acquire_many_owned(count as u32);
        let mut permits = permits.map_err(|_| ClassifyError::QueueFull {
            queue: shared.max_queued,
        })?;
        let mut tickets = Vec::with_capacity(count);
        for _ in 0..count {
            if let Some(permit) = permits.split(1) {
                tickets.push(Ticket {
                    permit,
                    pending: shared.queue.register(),
                });
            }
        }
        Ok(tickets)
    }

    /// Whether no more images are admitted.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.permits.available_permits() == 0
    }

    /// Number of images that are queued or in progress.
    pub(crate) fn admitted_images(&self) -> usize {
        self.shared
            .max_queued
            .saturating_sub(self.shared.permits.available_permits())
    }

    /// Decodes and classifies one image. If the future is dropped, the image is left out of its
    /// batch.
    ///
    /// # Errors
    /// Any [`ClassifyError`] but [`ClassifyError::Base64`] and [`ClassifyError::QueueFull`].
    pub(crate) async fn detect(
        &self,
        bytes: Bytes,
        detector: Detector,
        ticket: Ticket,
        deadline: Instant,
    ) -> Result<Detection, ClassifyError> {
        let shared = &self.shared;
        let late = |_| shared.late();
        let decoder = timeout_at(
            deadline.into(),
            Arc::clone(&shared.decoders).acquire_owned(),
        );
        let decoder = decoder
            .await
            .map_err(late)?
            .map_err(|_| ClassifyError::Stopping)?;
        let (reply, answer) = oneshot::channel();
        let for_decoder = Arc::clone(shared);
        // The closure owns both permits, so that they stay taken while it runs, even if the client
        // disconnects.
        let decoding = tokio::task::spawn_blocking(move || {
            if reply.is_closed() {
                for_decoder.metrics.abandoned.inc();
                return Err(ClassifyError::Stopping);
            }
            let pixels = for_decoder.decode(&bytes);
            drop((bytes, decoder));
            let Ticket { permit, pending } = ticket;
            let queued = Instant::now();
            let job = Job {
                pixels: pixels?,
                detector,
                deadline,
                queued,
                reply,
                permit,
            };
            for_decoder.queue.push(job, pending);
            Ok::<_, ClassifyError>(())
        });
        timeout_at(deadline.into(), decoding)
            .await
            .map_err(late)?
            .map_err(|_| ClassifyError::Computation)??;
        // A worker that panicked has dropped the sender.
        timeout_at(deadline.into(), answer)
            .await
            .map_err(late)?
            .map_err(|_| ClassifyError::Computation)?
    }

    /// Closes the queue. Workers exit when it is empty.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
    }
}

impl Shared {
    fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, ClassifyError> {
        let started = Instant::now();
        self.note_decoder();
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        let decoded = self.preprocessing.preprocess_bytes(bytes, &mut pixels);
        self.metrics
            .decode_duration
            .observe(started.elapsed().as_secs_f64());
        self.note_decoder();
        decoded?;
        Ok(pixels)
    }

    fn note_decoder(&self) {
        self.decoded
            .store(self.started.elapsed().as_millis() as u64, Ordering::SeqCst);
    }

    fn late(&self) -> ClassifyError {
        ClassifyError::Deadline {
            millis: self.deadline.as_millis(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
