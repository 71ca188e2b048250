//! A parallel map over chunks that hands results on in order and never runs far ahead of the slowest one, so that its
//! memory does not grow with the number of items.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Chunks that a worker may be ahead of the last one handed on, for each worker.
const AHEAD: usize = 3;

/// Which chunk comes next, and how far the results have been handed on.
#[derive(Debug, Default)]
struct Position {
    next: usize,
    handed_on: usize,
    stopped: bool,
}

struct Tickets {
    position: Mutex<Position>,
    moved: Condvar,
    chunks: usize,
    window: usize,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next chunk to work on; waits while too many are unfinished, and is `None` when all are taken or work has
    /// stopped.
    fn take(&self) -> Option<usize> {
        let mut position = self.lock();
        loop {
            if position.stopped || position.next >= self.chunks {
                return None;
            }
            if position.next < position.handed_on + self.window {
                position.next += 1;
                return Some(position.next - 1);
            }
            position = self.moved.wait(position).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn hand_on(&self) {
        self.lock().handed_on += 1;
        self.moved.notify_all();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.moved.notify_all();
    }
}

/// Stops the others when a worker panics, so that nobody waits for its chunk for ever.
struct StopOnPanic<'a>(&'a Tickets);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Applies `work` to chunks of `size` items on one thread for each of `workers`, which are what the threads own, and
/// gives the results to `sink` in order, on the calling thread. Stops early when `sink` fails; its error is returned.
pub(super) fn map_in_order<T: Sync, W: Send, R: Send, E>(
    items: &[T],
    size: usize,
    workers: Vec<W>,
    work: impl Fn(&mut W, &[T]) -> R + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let chunks: Vec<&[T]> = items.chunks(size.max(1)).collect();
    let tickets = Tickets {
        position: Mutex::default(),
        moved: Condvar::new(),
        chunks: chunks.len(),
        window: AHEAD * workers.len().max(1),
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(tickets.window);
        for mut worker in workers {
            let (sender, tickets, chunks, work) = (sender.clone(), &tickets, &chunks, &work);
            scope.spawn(move || {
                let _guard = StopOnPanic(tickets);
                while let Some(index) = tickets.take() {
                    if sender.send((index, work(&mut worker, chunks[index]))).is_err() {
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

    #[test]
    fn results_come_in_order_whatever_the_speed() {
        let items: Vec<usize> = (0..103).collect();
        for workers in [1, 2, 5] {
            let mut seen = Vec::new();
            let work = |(): &mut (), chunk: &[usize]| {
                std::thread::sleep(Duration::from_micros((chunk[0] * 7919 % 13) as u64 * 50));
                chunk.to_vec()
            };
            let sink = |chunk: Vec<usize>| -> Result<(), ()> {
                seen.extend(chunk);
                Ok(())
            };
            map_in_order(&items, 4, vec![(); workers], work, sink).unwrap();
            assert_eq!(seen, items);
        }
    }

    #[test]
    fn no_worker_runs_far_ahead() {
        let items: Vec<usize> = (0..200).collect();
        let started = AtomicUsize::new(0);
        let mut handed_on = 0;
        let mut furthest = 0;
        let work = |(): &mut (), _: &[usize]| {
            started.fetch_add(1, Ordering::SeqCst);
        };
        let sink = |()| -> Result<(), ()> {
            std::thread::sleep(Duration::from_micros(200));
            furthest = furthest.max(started.load(Ordering::SeqCst) - handed_on);
            handed_on += 1;
            Ok(())
        };
        map_in_order(&items, 1, vec![(); 4], work, sink).unwrap();
        assert!(furthest <= AHEAD * 4, "{furthest} chunks ahead");
    }

    #[test]
    fn an_error_of_the_sink_ends_the_work() {
        let items: Vec<usize> = (0..1000).collect();
        let mut count = 0;
        let sink = |_: usize| {
            count += 1;
            if count == 3 { Err("full") } else { Ok(()) }
        };
        assert_eq!(map_in_order(&items, 1, vec![(); 3], |(), c| c[0], sink), Err("full"));
        assert_eq!(count, 3);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let none: [u8; 0] = [];
        assert_eq!(map_in_order(&none, 4, vec![(); 2], |(), _| (), |()| Err("called")), Ok(()));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_passed_on() {
        let items: Vec<usize> = (0..50).collect();
        let work = |(): &mut (), chunk: &[usize]| assert!(chunk[0] != 7, "seven");
        let _ = map_in_order(&items, 1, vec![(); 2], work, |()| Ok::<(), ()>(()));
    }
}
