use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::tickets::{ChunkLimits, StopOnPanic, Tickets, Window};

/// A worker of an [`OrderedMap`] panicked; the results after the last one are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker thread panicked")]
pub struct WorkerPanicked;

/// Maximum number of results that wait in the channel; more wait in their threads.
const MAX_CHANNEL: usize = 1 << 16;

/// Applies `work` to chunks of the items on one thread per element of `workers`, which the threads
/// own, and passes the results to `sink` in order, on the calling thread. `weight` is the memory
/// that an item holds, in bytes. Items are drawn as they are needed.
///
/// # Errors
/// The first error of `sink`, which ends the work.
///
/// # Panics
/// If `work`, `sink` or the iterator panics, or there are no workers.
pub fn map_ordered<T: Send, W: Send, R: Send, E>(
    items: impl Iterator<Item = T> + Send,
    limits: ChunkLimits,
    workers: Vec<W>,
    weight: impl Fn(&T) -> usize + Sync,
    work: impl Fn(&mut W, Vec<T>) -> R + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    assert!(
        !workers.is_empty(),
        "expected at least one worker, got none"
    );
    let tickets = Tickets::new(items, limits, workers.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(tickets.window.size.min(MAX_CHANNEL));
        for mut worker in workers {
            let (sender, tickets, weight, work) = (sender.clone(), &tickets, &weight, &work);
            scope.spawn(move || {
                tickets.work(
                    weight,
                    |items| work(&mut worker, items),
                    |result| sender.send(result).is_ok(),
                );
            });
        }
        drop(sender);
        // The scope waits for the workers, also if `sink` panics.
        let _guard = StopOnPanic(&tickets.window);
        let mut ordered = Reordered::new(receiver);
        while let Some(result) = ordered.next() {
            if let Err(error) = sink(result) {
                tickets.window.stop();
                return Err(error);
            }
            tickets.window.hand_on();
        }
        Ok(())
    })
}

/// Results in the order of their chunks, whatever the order in which they arrive.
struct Reordered<R> {
    receiver: Receiver<(usize, R)>,
    waiting: BTreeMap<usize, R>,
    expected: usize,
}

impl<R> Reordered<R> {
    fn new(receiver: Receiver<(usize, R)>) -> Self {
        Self {
            receiver,
            waiting: BTreeMap::new(),
            expected: 0,
        }
    }

    fn next(&mut self) -> Option<R> {
        loop {
            if let Some(result) = self.waiting.remove(&self.expected) {
                self.expected += 1;
                return Some(result);
            }
            let (index, result) = self.receiver.recv().ok()?;
            self.waiting.insert(index, result);
        }
    }
}

/// Iterator over the results of `work` on chunks of the items, computed ahead on threads of its
/// own, in order. Dropping it stops the threads after their current chunk and waits for them.
pub struct OrderedMap<R> {
    results: Option<Reordered<R>>,
    window: Arc<Window>,
    threads: Vec<JoinHandle<()>>,
}

impl<R> fmt::Debug for OrderedMap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedMap")
            .field("window", &self.window)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl<R: Send + 'static> OrderedMap<R> {
    /// Starts one thread per element of `workers`, which the threads own. Items have no weight.
    ///
    /// # Errors
    /// The error of the system if a thread cannot be started, and [`io::ErrorKind::InvalidInput`] without workers.
    pub fn new<T: Send + 'static, W: Send + 'static>(
        items: impl Iterator<Item = T> + Send + 'static,
        limits: ChunkLimits,
        workers: Vec<W>,
        work: impl Fn(&mut W, Vec<T>) -> R + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::with_weight(items, limits, workers, |_| 0, work)
    }

    /// Same as [`new`](Self::new) with the memory that an item holds, `weight`, in bytes.
    ///
    /// # Errors
    /// Same as [`new`](Self::new).
    pub fn with_weight<T: Send + 'static, W: Send + 'static>(
        items: impl Iterator<Item = T> + Send + 'static,
        limits: ChunkLimits,
        workers: Vec<W>,
        weight: impl Fn(&T) -> usize + Send + Sync + 'static,
        work: impl Fn(&mut W, Vec<T>) -> R + Send + Sync + 'static,
    ) -> io::Result<Self> {
        if workers.is_empty() {
            let problem = "expected at least one worker, got none";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let tickets = Arc::new(Tickets::new(items, limits, workers.len()));
        let (sender, receiver) = sync_channel(tickets.window.size.min(MAX_CHANNEL));
        let shared = Arc::new((weight, work));
        // If a thread cannot be started, dropping `map` stops those that were.
        let mut map = Self {
            results: Some(Reordered::new(receiver)),
            window: Arc::clone(&tickets.window),
            threads: Vec::with_capacity(workers.len()),
        };
        for (index, mut worker) in workers.into_iter().enumerate() {
            let (sender, tickets, shared) =
                (sender.clone(), Arc::clone(&tickets), Arc::clone(&shared));
            let thread = Builder::new()
                .name(format!("clipn-worker-{index}"))
                .spawn(move || {
                    let (weight, work) = &*shared;
                    tickets.work(
                        weight,
                        |items| work(&mut worker, items),
                        |result| sender.send(result).is_ok(),
                    );
                })?;
            map.threads.push(thread);
        }
        Ok(map)
    }
}

impl<R> OrderedMap<R> {
    /// Returns the next result; `None` after the last one.
    ///
    /// # Errors
    /// [`WorkerPanicked`] if the items or `work` panicked, so that results are missing.
    pub fn try_next(&mut self) -> Result<Option<R>, WorkerPanicked> {
        let Some(results) = &mut self.results else {
            return Ok(None);
        };
        if let Some(result) = results.next() {
            self.window.hand_on();
            return Ok(Some(result));
        }
        if self.join() {
            return Err(WorkerPanicked);
        }
        Ok(None)
    }

    /// Waits for the threads; returns whether one of them panicked.
    fn join(&mut self) -> bool {
        self.window.stop();
        self.results = None;
        let mut panicked = false;
        for thread in self.threads.drain(..) {
            panicked |= thread.join().is_err();
        }
        panicked
    }
}

impl<R> Iterator for OrderedMap<R> {
    type Item = R;

    /// # Panics
    /// If a worker panicked, so that results are missing.
    fn next(&mut self) -> Option<R> {
        self.try_next().unwrap_or_else(|error| panic!("{error}"))
    }
}

impl<R> Drop for OrderedMap<R> {
    fn drop(&mut self) {
        self.join();
    }
}
