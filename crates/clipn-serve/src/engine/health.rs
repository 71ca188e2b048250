use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::worker::Activity;
use super::{Engine, Shared};

/// Health of the workers and the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `failing` if a worker is dead or stuck, or images wait too long.
    pub(crate) status: &'static str,
    /// Descriptions of the problems; empty if the status is `ok`.
    pub(crate) problems: Vec<String>,
    /// State of each worker.
    pub(crate) workers: Vec<WorkerHealth>,
    /// Number of admitted images, queued or in progress.
    pub(crate) pictures: usize,
    /// Waiting time of the oldest image in the queue, in milliseconds.
    pub(crate) oldest_ms: u64,
}

/// State of one worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerHealth {
    /// `idle`, `busy`, `stuck` or `dead`.
    state: &'static str,
    /// Time spent on the current batch, in milliseconds; 0 if idle.
    busy_ms: u64,
    /// Number of restarts after a panic.
    restarts: u32,
}

impl Engine {
    /// Returns the current health. It is `failing` if a worker is dead or stuck, or if the queue or
    /// the decoders make no progress.
    pub(crate) fn health(&self) -> Health {
        let shared = &self.shared;
        let mut problems = Vec::new();
        let mut workers = Vec::with_capacity(shared.workers.len());
        for (index, worker) in shared.workers.iter().enumerate() {
            let (state, busy) = match worker.activity(shared.started) {
                Activity::Dead => {
                    problems.push(format!("worker {index} is dead"));
                    ("dead", Duration::ZERO)
                }
                Activity::Busy(busy) if busy > shared.stuck_timeout => {
                    problems.push(format!(
                        "worker {index} is stuck: busy with one batch for {} s",
                        busy.as_secs()
                    ));
                    ("stuck", busy)
                }
                Activity::Busy(busy) => ("busy", busy),
                Activity::Idle => ("idle", Duration::ZERO),
            };
            workers.push(WorkerHealth {
                state,
                busy_ms: millis(busy),
                restarts: worker.restarts(),
            });
        }
        let oldest = shared
            .queue
            .oldest()
            .map(|at| at.elapsed())
            .unwrap_or_default();
        if oldest > shared.stuck_timeout {
            problems.push(format!(
                "queue is stuck: the oldest image has waited for {} s",
                oldest.as_secs()
            ));
        }
        if let Some(stalled) = shared.decoders_stuck() {
            problems.push(format!(
                "decoders are stuck: no progress for {} s",
                stalled.as_secs()
            ));
        }
        let status = if problems.is_empty() { "ok" } else { "failing" };
        Health {
            status,
            problems,
            workers,
            pictures: self.admitted_images(),
            oldest_ms: millis(oldest),
        }
    }
}

impl Shared {
    pub(super) fn any_alive(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| !matches!(worker.activity(self.started), Activity::Dead))
    }

    /// Time since a decoder last started or finished, if all decoders are busy and that time
    /// exceeds `stuck_timeout`.
    fn decoders_stuck(&self) -> Option<Duration> {
        if self.decoders.available_permits() > 0 {
            return None;
        }
        let last = Duration::from_millis(self.decoded.load(Ordering::SeqCst));
        let stalled = self.started.elapsed().saturating_sub(last);
        (stalled > self.stuck_timeout).then_some(stalled)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
