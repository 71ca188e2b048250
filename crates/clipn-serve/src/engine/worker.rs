use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clipn::detector::{Detection, Detector};
use clipn::model::{Features, Images};

use super::Shared;
use super::queue::Job;
use crate::failure::Failure;

/// So often may workers be started again within [`RESTARTS_WITHIN`]; one that falls more often stays down.
const MOST_RESTARTS: usize = 5;

/// See [`MOST_RESTARTS`].
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);

/// What is known of one worker from outside.
#[derive(Default)]
pub(super) struct WorkerState {
    alive: AtomicBool,
    /// Milliseconds from the engine's start to the begin of the batch in work, plus one; 0 where there is none.
    busy_since: AtomicU64,
    restarts: AtomicU32,
}

/// How a worker is doing.
pub(super) enum Doing {
    Idle,
    Busy(Duration),
    Dead,
}

impl WorkerState {
    pub(super) fn doing(&self, started: Instant) -> Doing {
        if !self.alive.load(Ordering::SeqCst) {
            return Doing::Dead;
        }
        match self.busy_since.load(Ordering::SeqCst) {
            0 => Doing::Idle,
            since => Doing::Busy(
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

/// Starts worker `index`, which starts another in its place if it falls.
pub(super) fn start(shared: &Arc<Shared>, index: usize) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    shared.workers[index].alive.store(true, Ordering::SeqCst);
    let watched = Watched {
        shared: Arc::clone(&shared),
        index,
    };
    std::thread::Builder::new()
        .name(format!("clipn-worker-{index}"))
        .spawn(move || {
            let watched = watched;
            watched.work();
        })?;
    Ok(())
}

/// A worker's life. Dropped while it panics, it sees to the next one.
struct Watched {
    shared: Arc<Shared>,
    index: usize,
}

impl Watched {
    fn work(&self) {
        let Self { shared, index } = self;
        let state = &shared.workers[*index];
        while let Some(jobs) = shared
            .queue
            .take(shared.max_batch, shared.max_wait, || state.end())
        {
            state.begin(shared.started);
            let jobs = shared.worth_computing(jobs);
            if !jobs.is_empty() {
                shared.compute(jobs);
            }
            state.end();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let state = &self.shared.workers[self.index];
        state.alive.store(false, Ordering::SeqCst);
        state.end();
        if !std::thread::panicking() {
            return;
        }
        self.shared.metrics.worker_restarts.inc();
        if !self.shared.may_restart() {
            tracing::error!(
                worker = self.index,
                "a worker fell too often and stays down"
            );
            return;
        }
        state.restarts.fetch_add(1, Ordering::SeqCst);
        match start(&self.shared, self.index) {
            Ok(()) => tracing::error!(worker = self.index, "a worker fell and was started again"),
            Err(error) => {
                state.alive.store(false, Ordering::SeqCst);
                tracing::error!(worker = self.index, %error, "a worker fell and cannot be started again");
            }
        }
    }
}

impl Shared {
    fn may_restart(&self) -> bool {
        let mut restarts = super::lock(&self.restarts);
        restarts.retain(|at| at.elapsed() < RESTARTS_WITHIN);
        restarts.push(Instant::now());
        restarts.len() <= MOST_RESTARTS
    }

    /// Leaves out pictures that nobody waits for, and those whose deadline has passed.
    fn worth_computing(&self, jobs: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let mut worth = Vec::with_capacity(jobs.len());
        for job in jobs {
            self.metrics
                .queue_wait
                .observe(now.saturating_duration_since(job.queued).as_secs_f64());
            if job.reply.is_closed() {
                self.metrics.abandoned.inc();
            } else if now >= job.deadline {
                let _ = job.reply.send(Err(self.late()));
            } else {
                worth.push(job);
            }
        }
        worth
    }

    /// Computes a batch and answers each of its pictures. Where the batch fails, each is tried by itself, so that only
    /// the one at fault fails.
    fn compute(&self, jobs: Vec<Job>) {
        let begun = Instant::now();
        self.metrics.batch_size.observe(jobs.len() as f64);
        let found = self.attempt(&jobs.iter().collect::<Vec<_>>());
        self.metrics
            .batch_duration
            .observe(begun.elapsed().as_secs_f64());
        match found {
            Ok(detections) => {
                jobs.into_iter()
                    .zip(detections)
                    .for_each(|(job, found)| answer(job, Ok(found)));
            }
            Err(reason) if jobs.len() == 1 => {
                tracing::error!(reason, "a picture could not be computed");
                jobs.into_iter()
                    .for_each(|job| answer(job, Err(Failure::Computation)));
            }
            Err(reason) => {
                tracing::warn!(
                    reason,
                    pictures = jobs.len(),
                    "a batch failed; its pictures are tried one by one"
                );
                for job in jobs {
                    let found = self.attempt(&[&job]);
                    if let Err(reason) = &found {
                        tracing::error!(reason, "a picture could not be computed");
                    }
                    let found = found.ok().and_then(|mut found| found.pop());
                    answer(job, found.ok_or(Failure::Computation));
                }
            }
        }
    }

    /// The decisions on a batch, or why it failed. A panic is an error.
    fn attempt(&self, jobs: &[&Job]) -> Result<Vec<Detection>, String> {
        let pixels = jobs
            .iter()
            .map(|job| job.pixels.as_slice())
            .collect::<Vec<_>>()
            .concat();
        let detectors: Vec<&Detector> = jobs.iter().map(|job| &job.detector).collect();
        let run = || self.pool.install(|| self.detect(&pixels, &detectors));
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!(
                "panic: {}",
                said.unwrap_or_else(|| "without a word".to_owned())
            ))
        })
    }

    /// The tower on all pictures at once, then each picture's own classes.
    fn detect(&self, pixels: &[f32], detectors: &[&Detector]) -> Result<Vec<Detection>, String> {
        let tell = |error: &dyn std::fmt::Display| error.to_string();
        let images = Images::new(pixels, self.size, self.size).map_err(|e| tell(&e))?;
        let mut features = self.detector.tower().encode(images).map_err(|e| tell(&e))?;
        if features.len() != detectors.len() {
            return Err(format!(
                "{} pictures gave {} features",
                detectors.len(),
                features.len()
            ));
        }
        features.normalise();
        let decide = |(detector, row): (&&Detector, &[f32])| {
            let feature = Features::new(row.to_vec(), features.dim());
            let logits = detector
                .classifier()
                .logits(&feature)
                .map_err(|e| tell(&e))?;
            let row = logits.rows().next().ok_or("no logits")?;
            Ok(detector.decide(row))
        };
        detectors.iter().zip(features.rows()).map(decide).collect()
    }
}

/// Tells the asker, who may be gone, and frees the picture's place.
fn answer(job: Job, found: Result<Detection, Failure>) {
    drop(job.place);
    let _ = job.reply.send(found);
}
