use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clipn::detector::{Detection, Detector};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::failure::Failure;

/// A decoded picture that waits for the tower.
pub(super) struct Job {
    /// `[3, S, S]`, preprocessed.
    pub(super) pixels: Vec<f32>,
    /// Which classes, and how they are decided on.
    pub(super) detector: Detector,
    pub(super) deadline: Instant,
    pub(super) queued: Instant,
    pub(super) reply: oneshot::Sender<Result<Detection, Failure>>,
    /// The picture's place among those that the server takes; free when the job is gone.
    pub(super) place: OwnedSemaphorePermit,
}

/// Decoded pictures in the order of their arrival.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Pictures that were let in and are not decoded yet.
    on_the_way: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// A picture that was let in and will either come into the queue or not: what a batch may wait for.
pub(super) struct OnTheWay(Arc<Queue>);

impl Drop for OnTheWay {
    fn drop(&mut self) {
        if self.0.on_the_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Whoever waits for more must not go to sleep between its look at the count and this.
            let _waiting = self.0.lock();
            self.0.changed.notify_all();
        }
    }
}

impl Queue {
    /// Tells that a picture will come.
    pub(super) fn expect(self: &Arc<Self>) -> OnTheWay {
        self.on_the_way.fetch_add(1, Ordering::SeqCst);
        OnTheWay(Arc::clone(self))
    }

    /// Adds a picture; where nobody takes any more, it is dropped and its asker told.
    pub(super) fn push(&self, job: Job, expected: OnTheWay) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            // The asker may be gone.
            let _ = job.reply.send(Err(Failure::Stopping));
            return;
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        drop(expected);
    }

    /// The next batch: as soon as it has `most` pictures, or no other is on the way, or `longest` has passed since the
    /// first was found. `None` where the queue is closed and empty. `idle` is called now and then while there is none.
    pub(super) fn take(&self, most: usize, longest: Duration, idle: impl Fn()) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            idle();
            waiting = self.wait(waiting, Duration::from_secs(1));
        }
        let until = Instant::now() + longest;
        let mut batch = Vec::with_capacity(most.min(waiting.jobs.len()));
        loop {
            let wanted = (most - batch.len()).min(waiting.jobs.len());
            batch.extend(waiting.jobs.drain(..wanted));
            let left = until.saturating_duration_since(Instant::now());
            let none_to_come = waiting.closed || self.on_the_way.load(Ordering::SeqCst) == 0;
            if batch.len() >= most || left.is_zero() || none_to_come {
                return Some(batch);
            }
            waiting = self.wait(waiting, left);
        }
    }

    /// Lets nothing more in; what is there is still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Since when the first picture has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lock().jobs.front().map(|job| job.queued)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        longest: Duration,
    ) -> MutexGuard<'a, Waiting> {
        self.changed
            .wait_timeout(waiting, longest)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}
