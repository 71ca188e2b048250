use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::worker::Activity;
use super::{Engine, Resources, Shared};

/// Health of the workers and the queue.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct WorkerHealth {
    /// `idle`, `busy`, `stuck` or `dead`.
    state: &'static str,
    /// Time spent on the current batch, in milliseconds; 0 if idle.
    busy_ms: u64,
    /// Number of restarts after a panic.
    restarts: u32,
}

impl Health {
    /// Returns the current health of the engines, each with the names of its bundles. It is
    /// `failing` if a worker is dead or stuck, or if a queue or the decoders make no progress.
    pub(crate) fn new(resources: &Resources, engines: &[(String, Arc<Engine>)]) -> Self {
        let mut health = Self {
            status: "ok",
            problems: Vec::new(),
            workers: Vec::new(),
            pictures: resources.admitted_images(),
            oldest_ms: 0,
        };
        for (bundles, engine) in engines {
            let prefix = match engines.len() {
                1 => String::new(),
                _ => format!("{bundles}: "),
            };
            health.add(&engine.shared, &prefix);
        }
        if let Some(stalled) = resources.decoders_stuck() {
            health.problems.push(format!(
                "decoders are stuck: no progress for {} s",
                stalled.as_secs()
            ));
        }
        if !health.problems.is_empty() {
            health.status = "failing";
        }
        health
    }

    /// Adds a problem that is not one of the workers, unless it is known.
    pub(crate) fn add_problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        self.status = "failing";
    }

    /// Adds the workers and the queue of an engine.
    fn add(&mut self, shared: &Shared, prefix: &str) {
        let Resources {
            stuck_timeout,
            started,
            ..
        } = *shared.resources;
        for (index, worker) in shared.workers.iter().enumerate() {
            let (state, busy) = match worker.activity(started) {
                Activity::Dead => {
                    self.problems
                        .push(format!("{prefix}worker {index} is dead"));
                    ("dead", Duration::ZERO)
                }
                Activity::Busy(busy) if busy > stuck_timeout => {
                    self.problems.push(format!(
                        "{prefix}worker {index} is stuck: busy with one batch for {} s",
                        busy.as_secs()
                    ));
                    ("stuck", busy)
                }
                Activity::Busy(busy) => ("busy", busy),
                Activity::Idle => ("idle", Duration::ZERO),
            };
            self.workers.push(WorkerHealth {
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
        if oldest > stuck_timeout {
            self.problems.push(format!(
                "{prefix}queue is stuck: the oldest image has waited for {} s",
                oldest.as_secs()
            ));
        }
        self.oldest_ms = self.oldest_ms.max(millis(oldest));
    }
}

impl Shared {
    pub(super) fn any_alive(&self) -> bool {
        let started = self.resources.started;
        self.workers
            .iter()
            .any(|worker| !matches!(worker.activity(started), Activity::Dead))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
