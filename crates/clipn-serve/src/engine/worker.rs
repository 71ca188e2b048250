use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clipn::detector::{Detection, Detector};
use clipn::error::chain_in_one_line;

use super::queue::Job;
use super::{Resources, Shared};
use crate::classify_error::ClassifyError;

/// Maximum number of restarts, over all workers, within [`RESTART_WINDOW`]. A worker that panics
/// beyond it stays dead.
const MAX_RESTARTS: usize = 5;

/// Sliding window of [`MAX_RESTARTS`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// State of one worker, readable from other threads.
#[derive(Default)]
pub(super) struct WorkerState {
    alive: AtomicBool,
    /// Start of the current batch in milliseconds since the engine's start, plus one; 0 if idle.
    busy_since: AtomicU64,
    restarts: AtomicU32,
}

/// What a worker is doing.
pub(super) enum Activity {
    /// Waiting for a batch.
    Idle,
    /// Running a batch for this long.
    Busy(Duration),
    /// Not running.
    Dead,
}

impl WorkerState {
    pub(super) fn activity(&self, started: Instant) -> Activity {
        if !self.alive.load(Ordering::SeqCst) {
            return Activity::Dead;
        }
        match self.busy_since.load(Ordering::SeqCst) {
            0 => Activity::Idle,
            since => Activity::Busy(
                started
                    .elapsed()
                    .saturating_sub(Duration::from_millis(since - 1)),
            ),
        }
    }

    pub(super) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::SeqCst)
    }

    fn begin(&self, started: Instant) {
        self.busy_since
            .store(started.elapsed().as_millis() as u64 + 1, Ordering::SeqCst);
    }

    fn end(&self) {
        self.busy_since.store(0, Ordering::SeqCst);
    }
}

/// Starts worker `index`. It restarts itself after a panic.
pub(super) fn start(shared: &Arc<Shared>, index: usize) -> std::io::Result<()> {
    spawn(shared, index, false)
}

/// Starts the thread of worker `index`. The thread itself counts a restart: one that the operating
/// system refuses is not counted, and one that succeeds is counted before the worker's next result.
fn spawn(shared: &Arc<Shared>, index: usize, is_restart: bool) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    shared.workers[index].alive.store(true, Ordering::SeqCst);
    let guard = WorkerGuard {
        shared: Arc::clone(&shared),
        index,
    };
    std::thread::Builder::new()
        .name(format!("clipn-worker-{index}"))
        .spawn(move || {
            let guard = guard;
            if is_restart {
                guard.count_restart();
            }
            guard.run();
        })?;
    Ok(())
}

/// Worker loop. If it is dropped during a panic, it starts a replacement.
struct WorkerGuard {
    shared: Arc<Shared>,
    index: usize,
}

impl WorkerGuard {
    fn count_restart(&self) {
        let Self { shared, index } = self;
        shared.workers[*index]
            .restarts
            .fetch_add(1, Ordering::SeqCst);
        shared.resources.metrics.worker_restarts.inc();
    }

    fn run(&self) {
        let Self { shared, index } = self;
        let state = &shared.workers[*index];
        let Resources {
            max_batch,
            max_batch_wait,
            started,
            ..
        } = &*shared.resources;
        while let Some(jobs) = shared
            .queue
            .next_batch(*max_batch, *max_batch_wait, || state.end())
        {
            state.begin(*started);
            let jobs = shared.discard_stale(jobs);
            if !jobs.is_empty() {
                shared.run_batch(jobs);
            }
            state.end();
        }
    }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        let state = &self.shared.workers[self.index];
        state.alive.store(false, Ordering::SeqCst);
        state.end();
        if !std::thread::panicking() {
            return;
        }
        if !self.shared.may_restart() {
            tracing::error!(
                worker = self.index,
                "worker panicked too often; not restarting"
            );
            return;
        }
        match spawn(&self.shared, self.index, true) {
            Ok(()) => tracing::error!(worker = self.index, "worker panicked; restarted"),
            Err(error) => {
                state.alive.store(false, Ordering::SeqCst);
                tracing::error!(worker = self.index, %error, "worker panicked; cannot restart it");
            }
        }
    }
}

impl Shared {
    /// Records a panic. Returns whether the number within the window still allows a restart.
    fn may_restart(&self) -> bool {
        let mut restarts = super::lock(&self.resources.restarts);
        restarts.retain(|at| at.elapsed() < RESTART_WINDOW);
        restarts.push(Instant::now());
        restarts.len() <= MAX_RESTARTS
    }

    /// Removes jobs whose client has disconnected or whose deadline has passed.
    fn discard_stale(&self, jobs: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let mut live = Vec::with_capacity(jobs.len());
        for job in jobs {
            self.resources
                .metrics
                .queue_wait
                .observe(now.saturating_duration_since(job.queued).as_secs_f64());
            // A request that is late has dropped its end too, and is no client that disconnected.
            if now >= job.deadline {
                let _ = job.reply.send(Err(self.late()));
            } else if job.reply.is_closed() {
                self.resources.metrics.abandoned.inc();
            } else {
                live.push(job);
            }
        }
        live
    }

    /// Runs a batch and sends the result of each image. If the batch fails, its images are run one
    /// by one, so that only those at fault fail.
    fn run_batch(&self, jobs: Vec<Job>) {
        let started = Instant::now();
        self.resources.metrics.batch_size.observe(jobs.len() as f64);
        let result = self.try_run(&jobs.iter().collect::<Vec<_>>());
        self.resources
            .metrics
            .batch_duration
            .observe(started.elapsed().as_secs_f64());
        match result {
            Ok(detections) => {
                jobs.into_iter()
                    .zip(detections)
                    .for_each(|(job, detection)| send_result(job, Ok(detection)));
            }
            Err(reason) if jobs.len() == 1 => {
                tracing::error!(reason, "inference failed for an image");
                jobs.into_iter()
                    .for_each(|job| send_result(job, Err(ClassifyError::Computation)));
            }
            Err(reason) => {
                tracing::warn!(
                    reason,
                    images = jobs.len(),
                    "batch failed; retrying its images one by one"
                );
                for job in jobs {
                    let result = self.try_run(&[&job]);
                    if let Err(reason) = &result {
                        tracing::error!(reason, "inference failed for an image");
                    }
                    let detection = result.ok().and_then(|mut detections| detections.pop());
                    send_result(job, detection.ok_or(ClassifyError::Computation));
                }
            }
        }
    }

    /// Runs a batch and returns its detections. Panics are converted to errors.
    fn try_run(&self, jobs: &[&Job]) -> Result<Vec<Detection>, String> {
        let pixels = jobs
            .iter()
            .map(|job| job.pixels.as_slice())
            .collect::<Vec<_>>()
            .concat();
        let detectors: Vec<&Detector> = jobs.iter().map(|job| &job.detector).collect();
        let run = || {
            self.resources
                .pool
                .install(|| self.detector.detect_pixels_each(&pixels, &detectors))
                .map_err(|error| chain_in_one_line(&error))
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
            let message = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            Err(format!("panic: {message}"))
        })
    }
}

/// Releases the permit and sends the result to the client, if it is still connected.
fn send_result(job: Job, result: Result<Detection, ClassifyError>) {
    drop(job.permit);
    let _ = job.reply.send(result);
}
