use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::tickets::CHUNKS_AHEAD;
use super::*;

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
        map_ordered(
            0..103,
            ChunkLimits::new(4),
            vec![(); workers],
            light,
            work,
            sink,
        )
        .unwrap();
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
    map_ordered(
        items,
        ChunkLimits::new(1),
        vec![(); 4],
        light,
        |(): &mut (), _| (),
        sink,
    )
    .unwrap();
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
    let limits = ChunkLimits::new(4).with_bytes(10);
    map_ordered(
        items.into_iter(),
        limits,
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
        map_ordered(
            0..,
            ChunkLimits::new(1),
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
    let result = map_ordered(
        none,
        ChunkLimits::new(4),
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
    let _ = map_ordered(0..50, ChunkLimits::new(1), vec![(); 2], light, work, |()| {
        Ok::<(), ()>(())
    });
}

#[test]
#[should_panic(expected = "a scoped thread panicked")]
fn a_panic_of_the_source_is_passed_on() {
    let items = (0..50).inspect(|&index| assert!(index != 7, "seven"));
    let _ = map_ordered(
        items,
        ChunkLimits::new(1),
        vec![(); 2],
        light,
        |(): &mut (), _| (),
        |()| Ok::<(), ()>(()),
    );
}

#[test]
#[should_panic(expected = "seven")]
fn a_panic_of_the_sink_stops_the_workers() {
    let _ = map_ordered(
        0..,
        ChunkLimits::new(1),
        vec![(); 3],
        light,
        |(): &mut (), chunk: Vec<usize>| chunk[0],
        |result| {
            assert!(result != 7, "seven");
            Ok::<(), ()>(())
        },
    );
}

#[test]
fn an_iterator_gives_the_results_in_order() {
    for workers in [1, 2, 5] {
        let map = OrderedMap::new(
            0..103,
            ChunkLimits::new(4),
            vec![(); workers],
            |(), chunk| {
                std::thread::sleep(Duration::from_micros((chunk[0] * 7919 % 13) as u64 * 50));
                chunk
            },
        );
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
    let limits = ChunkLimits::new(1).with_window(5);
    let mut map = OrderedMap::new(items, limits, vec![(); 3], |(), _| ()).unwrap();
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
    let mut map = OrderedMap::new(
        0..,
        ChunkLimits::new(1),
        vec![(); 3],
        move |(), chunk: Vec<usize>| {
            let _ = &held;
            chunk[0]
        },
    )
    .unwrap();
    assert_eq!(map.next(), Some(0));
    drop(map);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn an_iterator_reports_a_panic_instead_of_ending_early() {
    let mut map = OrderedMap::new(
        0..50,
        ChunkLimits::new(1),
        vec![(); 2],
        |(), chunk: Vec<usize>| {
            assert!(chunk[0] != 7, "seven");
            chunk[0]
        },
    )
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

#[test]
fn no_item_is_lost_whatever_the_limits() {
    let limits = [
        ChunkLimits::new(4).with_bytes(0),
        ChunkLimits::new(0),
        ChunkLimits::new(4).with_window(usize::MAX),
    ];
    for limits in limits {
        let work = |(): &mut (), chunk: Vec<usize>| chunk;
        let map = OrderedMap::new(0..10, limits, vec![(); 2], work).unwrap();
        assert!(map.flatten().eq(0..10));
    }
    let none = OrderedMap::new(0..10, ChunkLimits::new(4), Vec::<()>::new(), |_, chunk| {
        chunk
    });
    assert_eq!(none.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
