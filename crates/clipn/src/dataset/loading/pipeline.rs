//! Reading and decoding ahead, in threads, with the order of the data kept.
//!
//! One thread reads; for every sample it puts a ticket into a bounded queue, in order, and the sample into another, from
//! which any worker takes it. Batches are made from the tickets in turn, so the workers' pace has no say in the order,
//! and no more than the queue holds is ever underway.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::error::TrainingDataError;
use super::items::{Drawn, RawSample};
use super::prepare::{Preparation, Prepared};
use super::skipped::SkippedSample;

/// What comes out, in order.
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
    /// A worker will send it here.
    Underway(Receiver<Outcome>),
    Skip(Box<SkippedSample>),
    PassEnd,
}

struct Job {
    sample: Box<RawSample>,
    done: SyncSender<Outcome>,
}

type Draws = Box<dyn Iterator<Item = Drawn> + Send>;

/// Where prepared samples come from.
pub(super) enum Pipeline {
    /// Everything is done when asked for.
    Inline {
        draws: Draws,
        preparation: Preparation,
    },
    /// Threads work ahead.
    Ahead {
        tickets: Option<Receiver<Ticket>>,
        stop: Arc<AtomicBool>,
        threads: Vec<JoinHandle<()>>,
    },
}

impl Pipeline {
    /// Begins with the draw numbered `skip`; those before are drawn and dropped.
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
        // On failure the queues are dropped, and the threads that did start end by themselves.
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
                // Nothing is sent while skipping, so a closed queue would be noticed only after it.
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
    /// Closes the queue and waits for the threads, which end at their next sample.
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
                // A panic was told as `Stopped` where it mattered.
                let _ = thread.join();
            }
        }
    }
}

/// Reads until nobody takes tickets any more.
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

/// Prepares samples until there are no more.
fn work(jobs: &Mutex<Receiver<Job>>, preparation: &Preparation) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { sample, done }) = job else {
            return;
        };
        // Where nobody waits any more, the next receive ends this.
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
