//! Chunks of a stream, taken by several workers within a bounded window.

use std::iter::Fuse;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Default number of chunks per worker that may be unfinished at a time.
pub(super) const CHUNKS_AHEAD: usize = 3;

/// Size of a chunk, which is what a worker takes from the stream at a time, and number of chunks
/// that may be unfinished.
///
/// ```
/// use clipn_base::ordered::ChunkLimits;
///
/// // At most 32 items, and no further item after 64 MiB.
/// let limits = ChunkLimits::new(32).with_bytes(64 << 20);
/// assert_eq!((limits.items, limits.window), (32, None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkLimits {
    /// Maximum number of items, at least 1.
    pub items: usize,
    /// Bytes after which a chunk is closed before it has all its items. Default: unlimited.
    pub bytes: usize,
    /// Chunks that may be taken before the first of them has been handed on. Default: three per
    /// worker.
    pub window: Option<usize>,
}

impl ChunkLimits {
    /// Limits a chunk to a number of items, without a limit in bytes.
    #[must_use]
    pub fn new(items: usize) -> Self {
        Self {
            items,
            bytes: usize::MAX,
            window: None,
        }
    }

    /// Sets the number of bytes after which a chunk is closed.
    #[must_use]
    pub fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Sets the number of chunks that may be taken before the first of them has been handed on.
    #[must_use]
    pub fn with_window(self, window: usize) -> Self {
        Self {
            window: Some(window),
            ..self
        }
    }

    fn window(self, workers: usize) -> usize {
        self.window.unwrap_or(CHUNKS_AHEAD * workers.max(1)).max(1)
    }
}

/// Items that are not taken yet, and the index of their next chunk.
struct Source<I: Iterator> {
    items: Fuse<I>,
    next: usize,
}

/// Number of results that have been handed on.
#[derive(Debug, Default)]
struct Position {
    handed_on: usize,
    stopped: bool,
}

/// Bounded window of chunks that are taken but not handed on yet.
#[derive(Debug)]
pub(super) struct Window {
    position: Mutex<Position>,
    moved: Condvar,
    pub(super) size: usize,
}

impl Window {
    fn new(size: usize) -> Self {
        Self {
            position: Mutex::default(),
            moved: Condvar::new(),
            size,
        }
    }

    /// Waits until the chunk may be taken; returns `false` if work has stopped.
    fn admits(&self, chunk: usize) -> bool {
        let mut position = lock(&self.position);
        while !position.stopped && chunk >= position.handed_on.saturating_add(self.size) {
            position = self
                .moved
                .wait(position)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !position.stopped
    }

    pub(super) fn hand_on(&self) {
        lock(&self.position).handed_on += 1;
        self.moved.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.position).stopped = true;
        self.moved.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Source of the chunks, shared by the workers.
pub(super) struct Tickets<I: Iterator> {
    source: Mutex<Source<I>>,
    pub(super) window: Arc<Window>,
    limits: ChunkLimits,
}

impl<I: Iterator> Tickets<I> {
    pub(super) fn new(items: I, limits: ChunkLimits, workers: usize) -> Self {
        Self {
            source: Mutex::new(Source {
                items: items.fuse(),
                next: 0,
            }),
            window: Arc::new(Window::new(limits.window(workers))),
            limits,
        }
    }

    /// Takes the next chunk and its index. Blocks while the window is full; `None` if all chunks
    /// are taken or work has stopped. The worker that holds the source blocks the others, which
    /// have nothing to take then.
    fn take(&self, weight: &impl Fn(&I::Item) -> usize) -> Option<(usize, Vec<I::Item>)> {
        let mut source = lock(&self.source);
        if !self.window.admits(source.next) {
            return None;
        }
        let mut items = Vec::new();
        let mut bytes = 0;
        // At least one, however heavy it is.
        while items.is_empty() || (items.len() < self.limits.items && bytes < self.limits.bytes) {
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

    /// Works on chunks until there are no more, the window stops, or `send` reports that the
    /// receiver is gone.
    pub(super) fn work<R>(
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

/// Stops the workers when one of them or the receiver panics, so that none waits forever.
pub(super) struct StopOnPanic<'a>(pub(super) &'a Window);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}
