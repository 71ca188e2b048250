//! From a picture's bytes to the decision on it: decoded on a bounded number of threads, computed in batches that form
//! by themselves, with a bound on what is taken in, a deadline for each, and workers that are watched.
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
use queue::{Job, OnTheWay, Queue};
use worker::WorkerState;

use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::{ServeError, ServeSettings};

/// A shared handle on the workers and what waits for them.
#[derive(Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

/// What the workers share.
struct Shared {
    queue: Arc<Queue>,
    /// Places for pictures that are in work or wait for it.
    places: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
    /// Milliseconds from the start to the last time that a decoder began or ended.
    decoded: AtomicU64,
    /// Its image tower computes; each picture's own detector decides.
    detector: Detector,
    preprocessing: Preprocessing,
    size: usize,
    pool: ThreadPool,
    workers: Vec<WorkerState>,
    restarts: Mutex<Vec<Instant>>,
    started: Instant,
    metrics: Arc<Metrics>,
    places_total: usize,
    max_batch: usize,
    max_wait: Duration,
    deadline: Duration,
    stuck_after: Duration,
}

/// A picture's place.
pub(crate) struct Ticket {
    place: OwnedSemaphorePermit,
    on_the_way: OnTheWay,
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
        let failed = |what, reason: String| ServeError::Threads { what, reason };
        let mut preprocessing = detector.preprocessing().clone();
        preprocessing.decode.max_pixels = preprocessing.decode.max_pixels.min(settings.max_pixels);
        let shared = Arc::new(Shared {
            queue: Arc::default(),
            places: Arc::new(Semaphore::new(settings.queue)),
            decoders: Arc::new(Semaphore::new(settings.workers)),
            decoded: AtomicU64::new(0),
            detector: detector.clone(),
            size: preprocessing.size,
            preprocessing,
            pool: pool
                .map_err(|error| failed("the threads of the image tower", error.to_string()))?,
            workers: (0..settings.workers)
                .map(|_| WorkerState::default())
                .collect(),
            restarts: Mutex::default(),
            started: Instant::now(),
            metrics,
            places_total: settings.queue,
            max_batch: settings.max_batch,
            max_wait: settings.max_wait,
            deadline: settings.deadline,
            stuck_after: settings.stuck_after,
        });
        for index in 0..settings.workers {
            worker::start(&shared, index)
                .map_err(|error| failed("the workers", error.to_string()))?;
        }
        Ok(Self { shared })
    }

    /// Places for so many pictures, or why there are none.
    pub(crate) fn admit(&self, pictures: usize) -> Result<Vec<Ticket>, Failure> {
        let shared = &self.shared;
        if !shared.any_alive() {
            return Err(Failure::NoWorkers);
        }
        let places = Arc::clone(&shared.places).try_acquire_many_owned(pictures as u32);
        let mut places = places.map_err(|_| Failure::QueueFull {
            queue: shared.places_total,
        })?;
        let mut tickets = Vec::with_capacity(pictures);
        for _ in 0..pictures {
            if let Some(place) = places.split(1) {
                tickets.push(Ticket {
                    place,
                    on_the_way: shared.queue.expect(),
                });
            }
        }
        Ok(tickets)
    }

    /// Whether not even one more picture would be taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.places.available_permits() == 0
    }

    /// Pictures in work or waiting.
    pub(crate) fn pictures(&self) -> usize {
        self.shared
            .places_total
            .saturating_sub(self.shared.places.available_permits())
    }

    /// Decodes and decides on one picture. Dropped before its end, it takes no part in any batch.
    pub(crate) async fn detect(
        &self,
        bytes: Bytes,
        detector: Detector,
        ticket: Ticket,
        deadline: Instant,
    ) -> Result<Detection, Failure> {
        let shared = &self.shared;
        let late = |_| shared.late();
        let decoder = timeout_at(
            deadline.into(),
            Arc::clone(&shared.decoders).acquire_owned(),
        );
        let decoder = decoder
            .await
            .map_err(late)?
            .map_err(|_| Failure::Stopping)?;
        let (reply, answer) = oneshot::channel();
        let for_decoder = Arc::clone(shared);
        // The closure owns the picture's place and its decoder: both stay taken while it runs, whoever waits for it.
        let decoding = tokio::task::spawn_blocking(move || {
            if reply.is_closed() {
                for_decoder.metrics.abandoned.inc();
                return Err(Failure::Stopping);
            }
            let pixels = for_decoder.decode(&bytes);
            drop((bytes, decoder));
            let Ticket { place, on_the_way } = ticket;
            let queued = Instant::now();
            let job = Job {
                pixels: pixels?,
                detector,
                deadline,
                queued,
                reply,
                place,
            };
            for_decoder.queue.push(job, on_the_way);
            Ok::<_, Failure>(())
        });
        timeout_at(deadline.into(), decoding)
            .await
            .map_err(late)?
            .map_err(|_| Failure::Computation)??;
        // A worker that fell has dropped the other end.
        timeout_at(deadline.into(), answer)
            .await
            .map_err(late)?
            .map_err(|_| Failure::Computation)?
    }

    /// Lets nothing more in; workers end when the queue is empty.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
    }
}

impl Shared {
    fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, Failure> {
        let begun = Instant::now();
        self.note_decoder();
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        let decoded = self.preprocessing.bytes_into(bytes, &mut pixels);
        self.metrics
            .decode_duration
            .observe(begun.elapsed().as_secs_f64());
        self.note_decoder();
        decoded?;
        Ok(pixels)
    }

    fn note_decoder(&self) {
        self.decoded
            .store(self.started.elapsed().as_millis() as u64, Ordering::SeqCst);
    }

    fn late(&self) -> Failure {
        Failure::Deadline {
            millis: self.deadline.as_millis(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
