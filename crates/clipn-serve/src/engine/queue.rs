use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clipn::detector::{Detection, Detector};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::classify_error::ClassifyError;

/// A decoded image that waits for inference.
pub(super) struct Job {
    /// `[3, S, S]`, preprocessed.
    pub(super) pixels: Vec<f32>,
    /// Classifier and decision rule of this image.
    pub(super) detector: Detector,
    pub(super) deadline: Instant,
    pub(super) queued: Instant,
    pub(super) reply: oneshot::Sender<Result<Detection, ClassifyError>>,
    /// Admission permit, released when the job is dropped.
    pub(super) permit: OwnedSemaphorePermit,
}

/// FIFO queue of decoded images, from which workers take batches.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// Number of images that are admitted but not decoded yet.
    pending: AtomicUsize,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// RAII guard of an admitted image that is not in the queue yet. A batch waits only while there are
/// such images.
pub(super) struct PendingImage(Arc<Queue>);

impl Drop for PendingImage {
    fn drop(&mut self) {
        if self.0.pending.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Take the lock, so that no waiter misses the wake-up between its check and its wait.
            let _state = self.0.lock();
            self.0.changed.notify_all();
        }
    }
}

impl Queue {
    /// Registers an image that will be pushed later.
    pub(super) fn register(self: &Arc<Self>) -> PendingImage {
        self.pending.fetch_add(1, Ordering::SeqCst);
        PendingImage(Arc::clone(self))
    }

    /// Adds a job. If the queue is closed, the job fails with [`ClassifyError::Stopping`].
    pub(super) fn push(&self, job: Job, pending: PendingImage) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            // The client may have disconnected.
            let _ = job.reply.send(Err(ClassifyError::Stopping));
            return;
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        drop(pending);
    }

    /// Waits for the next batch. It is complete when it has `max_batch` jobs, when no image is
    /// pending, or when `max_wait` has passed since its first job. Returns `None` if the queue is
    /// closed and empty. `on_idle` is called at least once a second while there is no job.
    pub(super) fn next_batch(
        &self,
        max_batch: usize,
        max_wait: Duration,
        on_idle: impl Fn(),
    ) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            on_idle();
            state = self.wait(state, Duration::from_secs(1));
        }
        let until = Instant::now() + max_wait;
        let mut batch = Vec::with_capacity(max_batch.min(state.jobs.len()));
        loop {
            let count = (max_batch - batch.len()).min(state.jobs.len());
            batch.extend(state.jobs.drain(..count));
            let remaining = until.saturating_duration_since(Instant::now());
            let none_pending = state.closed || self.pending.load(Ordering::SeqCst) == 0;
            if batch.len() >= max_batch || remaining.is_zero() || none_pending {
                return Some(batch);
            }
            state = self.wait(state, remaining);
        }
    }

    /// Closes the queue to new jobs. Workers still take those that are in it.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Arrival time of the oldest job.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lock().jobs.front().map(|job| job.queued)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, QueueState>,
        timeout: Duration,
    ) -> MutexGuard<'a, QueueState> {
        self.changed
            .wait_timeout(state, timeout)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}
