//! Read-ahead and decoding in threads that preserve the order of the data.
//!
//! One thread reads. For every sample it puts a ticket into a bounded queue, in order, and the
//! sample into a second queue, from which any worker takes it. Batches are assembled from the
//! tickets in turn. The order therefore does not depend on the speed of the workers, and the
//! bounded queue limits the number of samples in flight.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::error::TrainingDataError;
use super::items::{Drawn, RawSample};
use super::prepare::{Preparation, Prepared};
use super::skipped::SkippedSample;

/// Output of the pipeline, in order.
pub(super) enum Output {
    Sample(Box<Prepared>),
    Skip(Box<SkippedSample>),
    PassEnd,
}

pub(super) type Outcome = Result<Prepared, Box<SkippedSample>>;

impl From<Outcome> for Output {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(prepared) => Self::Sample(Box::new(prepared)),
            Err(skipped) => Self::Skip(skipped),
        }
    }
}

pub(super) enum Ticket {
    /// A worker will send the outcome to this channel.
    Underway(Receiver<Outcome>),
    Skip(Box<SkippedSample>),
    PassEnd,
}

struct Job {
    sample: Box<RawSample>,
    done: SyncSender<Outcome>,
}

type Draws = Box<dyn Iterator<Item = Drawn> + Send>;

/// Source of prepared samples.
pub(super) enum Pipeline {
    /// Samples are prepared on the calling thread, on demand.
    Inline {
        draws: Draws,
        preparation: Preparation,
    },
    /// Samples are prepared ahead in threads.
    Ahead {
        tickets: Option<Receiver<Ticket>>,
        stop: Arc<AtomicBool>,
        threads: Vec<JoinHandle<()>>,
    },
}

impl Pipeline {
    /// Starts at draw number `skip`; earlier draws are dropped.
    pub(super) fn start(
        mut draws: Draws,
        skip: u64,
        preparation: Preparation,
        workers: usize,
        ahead: usize,
    ) -> Result<Self, TrainingDataError> {
        if workers == 0 {
            for _ in 0..skip {
                draws.next();
            }
            return Ok(Self::Inline { draws, preparation });
        }
        let (ticket_queue, tickets) = sync_channel(ahead);
        let (job_queue, jobs) = sync_channel(ahead);
        let jobs = Arc::new(Mutex::new(jobs));
        // On failure the queues are dropped, which ends the threads already started.
        let mut threads = Vec::with_capacity(workers + 1);
        for index in 0..workers {
            let (jobs, preparation) = (Arc::clone(&jobs), preparation.clone());
            threads.push(spawn(format!("clipn-load-{index}"), move || {
                work(&jobs, &preparation)
            })?);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let read = move || {
            for _ in 0..skip {
                // Nothing is sent while skipping, so a closed queue would be noticed only
                // afterwards.
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                draws.next();
            }
            read_ahead(draws, &ticket_queue, &job_queue);
        };
        threads.push(spawn("clipn-read".to_string(), read)?);
        Ok(Self::Ahead {
            tickets: Some(tickets),
            stop,
            threads,
        })
    }

    pub(super) fn next(&mut self) -> Result<Output, TrainingDataError> {
        match self {
            Self::Inline { draws, preparation } => {
                Ok(match draws.next().ok_or(TrainingDataError::Stopped)? {
                    Drawn::Sample(sample) => preparation.run(*sample).into(),
                    Drawn::Skip(skipped) => Output::Skip(skipped),
                    Drawn::PassEnd => Output::PassEnd,
                })
            }
            Self::Ahead { tickets, .. } => {
                let tickets = tickets.as_ref().ok_or(TrainingDataError::Stopped)?;
                Ok(
                    match tickets.recv().map_err(|_| TrainingDataError::Stopped)? {
                        Ticket::Underway(done) => {
                            done.recv().map_err(|_| TrainingDataError::Stopped)?.into()
                        }
                        Ticket::Skip(skipped) => Output::Skip(skipped),
                        Ticket::PassEnd => Output::PassEnd,
                    },
                )
            }
        }
    }
}

impl Drop for Pipeline {
    /// Closes the queues and joins the threads, which end at their next sample.
    fn drop(&mut self) {
        if let Self::Ahead {
            tickets,
            stop,
            threads,
        } = self
        {
            stop.store(true, Ordering::Relaxed);
            tickets.take();
            for thread in threads.drain(..) {
                // A panic was already reported as `Stopped` if it affected a batch.
                let _ = thread.join();
            }
        }
    }
}

/// Reads until the receiver of the tickets is dropped.
fn read_ahead(draws: Draws, tickets: &SyncSender<Ticket>, jobs: &SyncSender<Job>) {
    for drawn in draws {
        let sent = match drawn {
            Drawn::Sample(sample) => {
                let (done, outcome) = sync_channel(1);
                tickets.send(Ticket::Underway(outcome)).is_ok()
                    && jobs.send(Job { sample, done }).is_ok()
            }
            Drawn::Skip(skipped) => tickets.send(Ticket::Skip(skipped)).is_ok(),
            Drawn::PassEnd => tickets.send(Ticket::PassEnd).is_ok(),
        };
        if !sent {
            return;
        }
    }
}

/// Prepares samples until the queue is closed.
fn work(jobs: &Mutex<Receiver<Job>>, preparation: &Preparation) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { sample, done }) = job else {
            return;
        };
        // If the receiver is gone, the next `recv` ends the loop.
        let _ = done.send(preparation.run(*sample));
    }
}

fn spawn(
    name: String,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, TrainingDataError> {
    Builder::new()
        .name(name)
        .spawn(work)
        .map_err(|source| TrainingDataError::Thread { source })
}
