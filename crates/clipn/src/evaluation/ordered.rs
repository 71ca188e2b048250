//! Parallel map over a stream of items that returns results in order and runs only a bounded
//! distance ahead of the slowest item. Memory does not grow with the number of items: neither items
//! nor results are ever all in memory.

use std::collections::BTreeMap;
use std::iter::Fuse;
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Number of chunks per worker that may be taken ahead of the last one passed to the sink.
const CHUNKS_AHEAD: usize = 3;

/// Size of a chunk, the unit of work: at most `items` items, and fewer once they hold `bytes` bytes
/// of memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// The remaining items, and the index of the next chunk.
struct Source<I: Iterator> {
    items: Fuse<I>,
    next: usize,
}

/// Number of chunks passed to the sink, and whether the work has stopped.
#[derive(Debug, Default)]
struct SinkState {
    finished: usize,
    stopped: bool,
}

struct Tickets<I: Iterator> {
    source: Mutex<Source<I>>,
    sink_state: Mutex<SinkState>,
    changed: Condvar,
    chunk: Chunk,
    window: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I: Iterator> Tickets<I> {
    /// Takes the next chunk and its index. Waits while too many chunks are unfinished; returns
    /// `None` if all are taken or the work has stopped. A worker waits while it holds the source's
    /// lock, because the others could not take a chunk either.
    fn take(&self, weight: &impl Fn(&I::Item) -> usize) -> Option<(usize, Vec<I::Item>)> {
        let mut source = lock(&self.source);
        let mut sink_state = lock(&self.sink_state);
        while !sink_state.stopped && source.next >= sink_state.finished + self.window {
            sink_state = self
                .changed
                .wait(sink_state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if sink_state.stopped {
            return None;
        }
        drop(sink_state);
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

    fn finish_chunk(&self) {
        lock(&self.sink_state).finished += 1;
        self.changed.notify_all();
    }

    fn stop(&self) {
        lock(&self.sink_state).stopped = true;
        self.changed.notify_all();
    }
}

/// Stops the other workers if one panics, so that they do not wait for its chunk forever.
struct StopOnPanic<'a, I: Iterator>(&'a Tickets<I>);

impl<I: Iterator> Drop for StopOnPanic<'_, I> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Applies `work` to chunks of the items and passes the results to `sink` in order, on the calling
/// thread.
///
/// Each element of `workers` is the state owned by one thread. `weight` is the memory in bytes that
/// an item holds. Items are drawn from the iterator as needed. If `sink` fails, the work stops and
/// its error is returned.
pub(super) fn map_in_order<T: Send, W: Send, R: Send, E>(
    items: impl Iterator<Item = T> + Send,
    chunk: Chunk,
    workers: Vec<W>,
    weight: impl Fn(&T) -> usize + Sync,
    work: impl Fn(&mut W, Vec<T>) -> R + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let tickets = Tickets {
        source: Mutex::new(Source {
            items: items.fuse(),
            next: 0,
        }),
        sink_state: Mutex::default(),
        changed: Condvar::new(),
        chunk,
        window: CHUNKS_AHEAD * workers.len().max(1),
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(tickets.window);
        for mut worker in workers {
            let (sender, tickets, weight, work) = (sender.clone(), &tickets, &weight, &work);
            scope.spawn(move || {
                let _guard = StopOnPanic(tickets);
                while let Some((index, items)) = tickets.take(weight) {
                    if sender.send((index, work(&mut worker, items))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut out_of_order = BTreeMap::new();
        let mut expected = 0;
        for (index, result) in receiver {
            out_of_order.insert(index, result);
            while let Some(result) = out_of_order.remove(&expected) {
                expected += 1;
                if let Err(error) = sink(result) {
                    tickets.stop();
                    return Err(error);
                }
                tickets.finish_chunk();
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    const UNBOUNDED: usize = usize::MAX;

    fn chunk_of(items: usize) -> Chunk {
        Chunk {
            items,
            bytes: UNBOUNDED,
        }
    }

    fn weightless<T>(_: &T) -> usize {
        0
    }

    #[test]
    fn results_come_in_order_at_any_speed() {
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
            map_in_order(
                0..103,
                chunk_of(4),
                vec![(); workers],
                weightless,
                work,
                sink,
            )
            .unwrap();
            assert!(seen.iter().copied().eq(0..103));
        }
    }

    #[test]
    fn items_are_drawn_as_needed_and_workers_stay_within_the_window() {
        let drawn = AtomicUsize::new(0);
        let items = (0..200).inspect(|_| {
            drawn.fetch_add(1, Ordering::SeqCst);
        });
        let mut finished = 0;
        let mut furthest = 0;
        let sink = |()| -> Result<(), ()> {
            std::thread::sleep(Duration::from_micros(200));
            furthest = furthest.max(drawn.load(Ordering::SeqCst) - finished);
            finished += 1;
            Ok(())
        };
        map_in_order(
            items,
            chunk_of(1),
            vec![(); 4],
            weightless,
            |(): &mut (), _| (),
            sink,
        )
        .unwrap();
        assert!(furthest <= CHUNKS_AHEAD * 4, "{furthest} items ahead");
        assert_eq!(finished, 200);
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
    fn a_sink_error_stops_the_work() {
        let mut count = 0;
        let sink = |_: usize| {
            count += 1;
            if count == 3 { Err("full") } else { Ok(()) }
        };
        assert_eq!(
            map_in_order(
                0..,
                chunk_of(1),
                vec![(); 3],
                weightless,
                |(): &mut (), c: Vec<usize>| c[0],
                sink
            ),
            Err("full")
        );
        assert_eq!(count, 3);
    }

    #[test]
    fn an_empty_stream_succeeds() {
        let none = std::iter::empty::<u8>();
        let result = map_in_order(
            none,
            chunk_of(4),
            vec![(); 2],
            weightless,
            |(): &mut (), _| (),
            |()| Err("called"),
        );
        assert_eq!(result, Ok(()));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn propagates_a_worker_panic() {
        let work = |(): &mut (), chunk: Vec<usize>| assert!(chunk[0] != 7, "seven");
        let _ = map_in_order(0..50, chunk_of(1), vec![(); 2], weightless, work, |()| {
            Ok::<(), ()>(())
        });
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn propagates_a_panic_of_the_source() {
        let items = (0..50).inspect(|&index| assert!(index != 7, "seven"));
        let _ = map_in_order(
            items,
            chunk_of(1),
            vec![(); 2],
            weightless,
            |(): &mut (), _| (),
            |()| Ok::<(), ()>(()),
        );
    }
}
