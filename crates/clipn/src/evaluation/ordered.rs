//! A parallel map over a stream of items that hands results on in order and never runs far ahead of the slowest one, so
//! that its memory does not grow with the number of items: neither they nor their results are ever all there.

use std::collections::BTreeMap;
use std::iter::Fuse;
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Chunks that a worker may be ahead of the last one handed on, for each worker.
const AHEAD: usize = 3;

/// How much of the stream a worker takes at a time: so many items, or fewer where they hold so much memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// The items that nobody has taken yet, and the number of the next chunk of them.
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

struct Tickets<I: Iterator> {
    source: Mutex<Source<I>>,
    position: Mutex<Position>,
    moved: Condvar,
    chunk: Chunk,
    window: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I: Iterator> Tickets<I> {
    /// The next chunk to work on and its number; waits while too many are unfinished, and is `None` when all are taken
    /// or work has stopped. Whoever holds the source waits for the others, who then have nothing to take either.
    fn take(&self, weight: &impl Fn(&I::Item) -> usize) -> Option<(usize, Vec<I::Item>)> {
        let mut source = lock(&self.source);
        let mut position = lock(&self.position);
        while !position.stopped && source.next >= position.handed_on + self.window {
            position = self
                .moved
                .wait(position)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if position.stopped {
            return None;
        }
        drop(position);
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

    fn hand_on(&self) {
        lock(&self.position).handed_on += 1;
        self.moved.notify_all();
    }

    fn stop(&self) {
        lock(&self.position).stopped = true;
        self.moved.notify_all();
    }
}

/// Stops the others when a worker panics, so that nobody waits for its chunk for ever.
struct StopOnPanic<'a, I: Iterator>(&'a Tickets<I>);

impl<I: Iterator> Drop for StopOnPanic<'_, I> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Applies `work` to chunks of the items on one thread for each of `workers`, which are what the threads own, and gives
/// the results to `sink` in order, on the calling thread. `weight` is the memory that an item holds. Items are taken as
/// they are needed. Stops early when `sink` fails; its error is returned.
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
        position: Mutex::default(),
        moved: Condvar::new(),
        chunk,
        window: AHEAD * workers.len().max(1),
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
        let mut waiting = BTreeMap::new();
        let mut expected = 0;
        for (index, result) in receiver {
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&expected) {
                expected += 1;
                if let Err(error) = sink(result) {
                    tickets.stop();
                    return Err(error);
                }
                tickets.hand_on();
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

    fn of(items: usize) -> Chunk {
        Chunk {
            items,
            bytes: UNBOUNDED,
        }
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
        assert!(furthest <= AHEAD * 4, "{furthest} items ahead");
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
}
