use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::worker::Doing;
use super::{Engine, Shared};

/// Whether pictures are being answered, and what by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `failing`: a worker is dead or stuck, or pictures wait too long.
    pub(crate) status: &'static str,
    /// What is wrong, where something is.
    pub(crate) problems: Vec<String>,
    /// The workers.
    pub(crate) workers: Vec<WorkerHealth>,
    /// Pictures in work or waiting.
    pub(crate) pictures: usize,
    /// How long the first picture that waits for a worker has waited, in milliseconds.
    pub(crate) oldest_ms: u64,
}

/// One worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerHealth {
    /// `idle`, `busy`, `stuck` or `dead`.
    state: &'static str,
    /// How long it has been at its batch, in milliseconds.
    busy_ms: u64,
    /// How often it fell and was started again.
    restarts: u32,
}

impl Engine {
    /// How the workers are doing. Fails where one is dead or stuck, or where the queue does not move.
    pub(crate) fn health(&self) -> Health {
        let shared = &self.shared;
        let mut problems = Vec::new();
        let mut workers = Vec::with_capacity(shared.workers.len());
        for (index, worker) in shared.workers.iter().enumerate() {
            let (state, busy) = match worker.doing(shared.started) {
                Doing::Dead => {
                    problems.push(format!("worker {index} is dead"));
                    ("dead", Duration::ZERO)
                }
                Doing::Busy(busy) if busy > shared.stuck_after => {
                    problems.push(format!(
                        "worker {index} has been at a batch for {} s",
                        busy.as_secs()
                    ));
                    ("stuck", busy)
                }
                Doing::Busy(busy) => ("busy", busy),
                Doing::Idle => ("idle", Duration::ZERO),
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
        if oldest > shared.stuck_after {
            problems.push(format!(
                "a picture has waited for a worker for {} s",
                oldest.as_secs()
            ));
        }
        if let Some(still) = shared.decoders_stuck() {
            problems.push(format!(
                "no decoder has come to an end for {} s",
                still.as_secs()
            ));
        }
        let status = if problems.is_empty() { "ok" } else { "failing" };
        Health {
            status,
            problems,
            workers,
            pictures: self.pictures(),
            oldest_ms: millis(oldest),
        }
    }
}

impl Shared {
    pub(super) fn any_alive(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| !matches!(worker.doing(self.started), Doing::Dead))
    }

    /// For how long all decoders have been taken without one that began or ended, where that is too long.
    fn decoders_stuck(&self) -> Option<Duration> {
        if self.decoders.available_permits() > 0 {
            return None;
        }
        let last = Duration::from_millis(self.decoded.load(Ordering::SeqCst));
        let still = self.started.elapsed().saturating_sub(last);
        (still > self.stuck_after).then_some(still)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
