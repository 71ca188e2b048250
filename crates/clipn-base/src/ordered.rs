//! An ordered parallel map over a stream: results come in the order of the items, and no worker runs
//! far ahead of the slowest one, so memory does not grow with the number of items.
//!
//! [`map_in_order`] borrows its closures and pushes results into a sink; [`OrderedMap`] owns its
//! threads and is an iterator.
//!
//! ```
//! use clipn_base::ordered::{Chunk, OrderedMap};
//!
//! let squares = OrderedMap::new(0..10, Chunk::of(1), vec![(); 2], |(), chunk: Vec<u32>| {
//!     chunk[0] * chunk[0]
//! })?;
//! assert!(squares.eq((0..10).map(|n| n * n)));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::iter::Fuse;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Chunks per worker that may be unfinished at a time.
const CHUNKS_AHEAD: usize = 3;

/// How much of the stream a worker takes at a time.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Maximum number of items, at least 1.
    pub items: usize,
    /// Bytes after which a chunk is closed before it has all its items.
    pub bytes: usize,
    /// Chunks that may be taken before the first of them has been handed on; `None` for three per
    /// worker.
    pub window: Option<usize>,
}

impl Chunk {
    /// Chunks of a number of items, whatever memory they hold.
    #[must_use]
    pub fn of(items: usize) -> Self {
        Self {
            items,
            bytes: usize::MAX,
            window: None,
        }
    }

    fn window(self, workers: usize) -> usize {
        self.window.unwrap_or(CHUNKS_AHEAD * workers.max(1)).max(1)
    }
}

/// A worker of an [`OrderedMap`] panicked; the results after the last one are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPanicked;

impl fmt::Display for WorkerPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a worker thread panicked")
    }
}

impl std::error::Error for WorkerPanicked {}

/// The items that are not taken yet, and the index of the next chunk of them.
struct Source<I: Iterator> {
    items: Fuse<I>,
    next: usize,
}

/// How far the results have been handed on.
#[derive(Debug, Default)]
struct Position {
    handed_on: usize,
    stopped: bool,
}

/// The bounded window of chunks that are taken and not handed on yet.
#[derive(Debug)]
struct Window {
    position: Mutex<Position>,
    moved: Condvar,
    size: usize,
}

impl Window {
    fn new(size: usize) -> Self {
        Self {
            position: Mutex::default(),
            moved: Condvar::new(),
            size,
        }
    }

    /// Waits until the chunk may be taken; false if work has stopped.
    fn admits(&self, chunk: usize) -> bool {
        let mut position = lock(&self.position);
        while !position.stopped && chunk >= position.handed_on + self.size {
            position = self
                .moved
                .wait(position)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !position.stopped
    }

    fn hand_on(&self) {
        lock(&self.position).handed_on += 1;
        self.moved.notify_all();
    }

    fn stop(&self) {
        lock(&self.position).stopped = true;
        self.moved.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the workers take their chunks from.
struct Tickets<I: Iterator> {
    source: Mutex<Source<I>>,
    window: Arc<Window>,
    chunk: Chunk,
}

impl<I: Iterator> Tickets<I> {
    fn new(items: I, chunk: Chunk, workers: usize) -> Self {
        Self {
            source: Mutex::new(Source {
                items: items.fuse(),
                next: 0,
            }),
            window: Arc::new(Window::new(chunk.window(workers))),
            chunk,
        }
    }

    /// The next chunk and its index. Blocks while the window is full; `None` if all chunks are taken
    /// or work has stopped. The worker that holds the source blocks the others, which have nothing to
    /// take then.
    fn take(&self, weight: &impl Fn(&I::Item) -> usize) -> Option<(usize, Vec<I::Item>)> {
        let mut source = lock(&self.source);
        if !self.window.admits(source.next) {
            return None;
        }
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < self.chunk.items.max(1) && bytes < self.chunk.bytes {
            let Some(item) = source.items.next() else {
                break;
            };
            bytes += weight(&item);
            items.push(item);
        }
        if items.is_empty() {
            return None;
        }
        source.next += 1;
        Some((source.next - 1, items))
    }

    /// Works on chunks until there are no more, the window stops, or `send` reports that the receiver
    /// is gone.
    fn work<R>(
        &self,
        weight: &impl Fn(&I::Item) -> usize,
        mut work: impl FnMut(Vec<I::Item>) -> R,
        mut send: impl FnMut((usize, R)) -> bool,
    ) {
        let _guard = StopOnPanic(&self.window);
        while let Some((index, items)) = self.take(weight) {
            if !send((index, work(items))) {
                return;
            }
        }
    }
}

/// Stops the others when a worker panics, so that none waits for its chunk forever.
struct StopOnPanic<'a>(&'a Window);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Applies `work` to chunks of the items on one thread per element of `workers`, which the threads own,
/// and passes the results to `sink` in order, on the calling thread. `weight` is the memory that an item
/// holds, in bytes. Items are drawn as they are needed.
///
/// # Errors
/// The first error of `sink`, which ends the work.
///
/// # Panics
/// If `work` or the iterator panics.
pub fn map_in_order<T: Send, W: Send, R: Send, E>(
    items: impl Iterator<Item = T> + Send,
    chunk: Chunk,
    workers: Vec<W>,
    weight: impl Fn(&T) -> usize + Sync,
    work: impl Fn(&mut W, Vec<T>) -> R + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let tickets = Tickets::new(items, chunk, workers.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(tickets.window.size);
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

/// Results as they arrive, put back into the order of their chunks.
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

/// An iterator over the results of `work` on chunks of the items, computed ahead on threads of its own,
/// in order. Dropping it stops the threads after their current chunk and waits for them.
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
    /// Starts one thread per element of `workers`, which the threads own; items weigh nothing.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new<T: Send + 'static, W: Send + 'static>(
        items: impl Iterator<Item = T> + Send + 'static,
        chunk: Chunk,
        workers: Vec<W>,
        work: impl Fn(&mut W, Vec<T>) -> R + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::weighted(items, chunk, workers, |_| 0, work)
    }

    /// Same as [`new`](Self::new), where `weight` is the memory that an item holds, in bytes.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn weighted<T: Send + 'static, W: Send + 'static>(
        items: impl Iterator<Item = T> + Send + 'static,
        chunk: Chunk,
        workers: Vec<W>,
        weight: impl Fn(&T) -> usize + Send + Sync + 'static,
        work: impl Fn(&mut W, Vec<T>) -> R + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let tickets = Arc::new(Tickets::new(items, chunk, workers.len()));
        let (sender, receiver) = sync_channel(tickets.window.size);
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
    /// [`WorkerPanicked`]: the items or `work` panicked, and results are missing.
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
    /// If a worker panicked: results are missing.
    fn next(&mut self) -> Option<R> {
        self.try_next().unwrap_or_else(|error| panic!("{error}"))
    }
}

impl<R> Drop for OrderedMap<R> {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn of(items: usize) -> Chunk {
        Chunk::of(items)
    }

    fn light<T>(_: &T) -> usize {
        0
    }

    #[test]
    fn results_come_in_order_whatever_the_speed() {
        for workers in [1, 2, 5] {
            let mut seen = Vec::new();
            let work = |(): &mut (), chunk: Vec<usize>| {
                std::thread::sleep(Duration::from_micros((chunk[0] * 7919 % 13) as u64 * 50));
                chunk
            };
            let sink = |chunk: Vec<usize>| -> Result<(), ()> {
                seen.extend(chunk);
                Ok(())
            };
            map_in_order(0..103, of(4), vec![(); workers], light, work, sink).unwrap();
            assert!(seen.iter().copied().eq(0..103));
        }
    }

    #[test]
    fn no_worker_runs_far_ahead_and_items_are_drawn_as_they_are_needed() {
        let drawn = AtomicUsize::new(0);
        let items = (0..200).inspect(|_| {
            drawn.fetch_add(1, Ordering::SeqCst);
        });
        let mut handed_on = 0;
        let mut furthest = 0;
        let sink = |()| -> Result<(), ()> {
            std::thread::sleep(Duration::from_micros(200));
            furthest = furthest.max(drawn.load(Ordering::SeqCst) - handed_on);
            handed_on += 1;
            Ok(())
        };
        map_in_order(items, of(1), vec![(); 4], light, |(): &mut (), _| (), sink).unwrap();
        assert!(furthest <= CHUNKS_AHEAD * 4, "{furthest} items ahead");
        assert_eq!(handed_on, 200);
    }

    #[test]
    fn heavy_items_make_small_chunks() {
        let mut lengths = Vec::new();
        let sink = |length: usize| -> Result<(), ()> {
            lengths.push(length);
            Ok(())
        };
        let items = [1, 1, 1, 1, 9, 9, 100, 1, 1];
        let chunk = Chunk {
            items: 4,
            bytes: 10,
            window: None,
        };
        map_in_order(
            items.into_iter(),
            chunk,
            vec![()],
            |&w| w,
            |(): &mut (), c| c.len(),
            sink,
        )
        .unwrap();
        assert_eq!(lengths, [4, 2, 1, 2]);
    }

    #[test]
    fn an_error_of_the_sink_ends_the_work() {
        let mut count = 0;
        let sink = |_: usize| {
            count += 1;
            if count == 3 { Err("full") } else { Ok(()) }
        };
        assert_eq!(
            map_in_order(
                0..,
                of(1),
                vec![(); 3],
                light,
                |(): &mut (), c: Vec<usize>| c[0],
                sink
            ),
            Err("full")
        );
        assert_eq!(count, 3);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let none = std::iter::empty::<u8>();
        let result = map_in_order(
            none,
            of(4),
            vec![(); 2],
            light,
            |(): &mut (), _| (),
            |()| Err("called"),
        );
        assert_eq!(result, Ok(()));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_passed_on() {
        let work = |(): &mut (), chunk: Vec<usize>| assert!(chunk[0] != 7, "seven");
        let _ = map_in_order(
            0..50,
            of(1),
            vec![(); 2],
            light,
            work,
            |()| Ok::<(), ()>(()),
        );
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_of_the_source_is_passed_on() {
        let items = (0..50).inspect(|&index| assert!(index != 7, "seven"));
        let _ = map_in_order(
            items,
            of(1),
            vec![(); 2],
            light,
            |(): &mut (), _| (),
            |()| Ok::<(), ()>(()),
        );
    }

    #[test]
    fn an_iterator_gives_the_results_in_order() {
        for workers in [1, 2, 5] {
            let map = OrderedMap::new(0..103, of(4), vec![(); workers], |(), chunk| {
                std::thread::sleep(Duration::from_micros((chunk[0] * 7919 % 13) as u64 * 50));
                chunk
            });
            let seen: Vec<usize> = map.unwrap().flatten().collect();
            assert!(seen.iter().copied().eq(0..103), "{workers} workers");
        }
    }

    #[test]
    fn an_iterator_keeps_to_its_window() {
        let drawn = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&drawn);
        let items = (0..).inspect(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let chunk = Chunk {
            window: Some(5),
            ..of(1)
        };
        let mut map = OrderedMap::new(items, chunk, vec![(); 3], |(), _| ()).unwrap();
        for taken in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
            assert!(drawn.load(Ordering::SeqCst) <= taken + 5);
            map.next();
        }
    }

    #[test]
    fn a_dropped_iterator_ends_its_threads() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut map = OrderedMap::new(0.., of(1), vec![(); 3], move |(), chunk: Vec<usize>| {
            let _ = &held;
            chunk[0]
        })
        .unwrap();
        assert_eq!(map.next(), Some(0));
        drop(map);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn an_iterator_reports_a_panic_instead_of_ending_early() {
        let mut map = OrderedMap::new(0..50, of(1), vec![(); 2], |(), chunk: Vec<usize>| {
            assert!(chunk[0] != 7, "seven");
            chunk[0]
        })
        .unwrap();
        let mut count = 0;
        let end = loop {
            match map.try_next() {
                Ok(Some(_)) => count += 1,
                end => break end,
            }
        };
        assert_eq!(end, Err(WorkerPanicked));
        assert!(count <= 7, "{count}");
        assert_eq!(map.try_next(), Ok(None));
    }
}
