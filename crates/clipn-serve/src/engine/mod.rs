//! Inference engine: turns the bytes of an image into a decision.
//!
//! A fixed number of threads decodes images, and workers run the image tower on dynamic batches.
//! Admission is bounded, each image has a deadline, and workers restart after a panic.
mod health;
mod queue;
mod resources;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use clipn::detector::{Detection, Detector};
use clipn::image::Preprocessing;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout_at;

pub(crate) use health::Health;
use queue::{Job, PendingImage, Queue};
pub(crate) use resources::Resources;
use worker::WorkerState;

use crate::ServeError;
use crate::classify_error::ClassifyError;

/// Handle on the workers of one image tower and their queue. Workers exit when it is dropped.
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

/// State shared by the workers of one image tower.
struct Shared {
    resources: Arc<Resources>,
    queue: Arc<Queue>,
    /// Source of the image tower. The decision is made by each image's own detector.
    detector: Detector,
    preprocessing: Preprocessing,
    workers: Vec<WorkerState>,
}

/// Admission of one image.
pub(crate) struct Ticket {
    permit: OwnedSemaphorePermit,
    pending: PendingImage,
}

impl Engine {
    /// Starts the workers.
    pub(crate) fn start(
        resources: &Arc<Resources>,
        detector: &Detector,
    ) -> Result<Self, ServeError> {
        let mut preprocessing = detector.preprocessing().clone();
        preprocessing.decode.max_pixels = preprocessing.decode.max_pixels.min(resources.max_pixels);
        let shared = Arc::new(Shared {
            queue: Arc::default(),
            detector: detector.clone(),
            preprocessing,
            workers: (0..resources.threads)
                .map(|_| WorkerState::default())
                .collect(),
            resources: Arc::clone(resources),
        });
        // Dropped after an error, it closes the queue, so that the workers that have started exit.
        let engine = Self { shared };
        for index in 0..resources.threads {
            worker::start(&engine.shared, index).map_err(|error| ServeError::SpawnThreads {
                what: "the workers",
                reason: error.to_string(),
            })?;
        }
        Ok(engine)
    }

    /// Whether this engine can run images for a detector: it has the same image tower in memory, and
    /// prepares images in the same way.
    pub(crate) fn serves(&self, detector: &Detector) -> bool {
        let own = &self.shared.detector;
        own.shares_tower(detector) && own.preprocessing() == detector.preprocessing()
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
        let permits = Arc::clone(&shared.resources.permits).try_acquire_many_owned(count as u32);
        let mut permits = permits.map_err(|_| ClassifyError::QueueFull {
            queue: shared.resources.max_queued,
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
            Arc::clone(&shared.resources.decoders).acquire_owned(),
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
            // A request that is late has dropped its end too.
            if Instant::now() >= deadline {
                return Err(for_decoder.late());
            }
            if reply.is_closed() {
                for_decoder.resources.metrics.abandoned.inc();
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
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Engine {
    /// Closes the queue. Workers exit when it is empty.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
    }
}

impl Shared {
    fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, ClassifyError> {
        let started = Instant::now();
        self.resources.note_decoder();
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        let decoded = self.preprocessing.preprocess_bytes(bytes, &mut pixels);
        self.resources
            .metrics
            .decode_duration
            .observe(started.elapsed().as_secs_f64());
        self.resources.note_decoder();
        decoded?;
        Ok(pixels)
    }

    fn late(&self) -> ClassifyError {
        ClassifyError::Deadline {
            millis: self.resources.deadline.as_millis(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
