//! More is asked than can be answered.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clipn_serve::ServeSettings;
use common::*;

/// A server whose tower stands still until the gate is open.
fn gated(settings: ServeSettings) -> (Running, Arc<Gate>, Arc<TestTower>) {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, _| before.pass());
    (start(settings, detector_with(tower.clone())), gate, tower)
}

#[test]
fn a_full_queue_is_told_at_once() {
    let settings = ServeSettings {
        queue: 4,
        max_images: 4,
        max_batch: 1,
        ..settings()
    };
    let (server, gate, tower) = gated(settings);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.classify(&picture(1)).status))
            .collect();
        wait_for("a full queue", || {
            server.metric("clipn_queue_images") == 4.0
        });
        let refused = server.classify(&picture(1));
        assert_eq!(refused.error(429), "queue_full");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(server.get("/ready").status, 503);
        assert_eq!(server.get("/health").status, 200);
        gate.open();
        assert!(
            waiting
                .into_iter()
                .all(|request| request.join().unwrap() == 200)
        );
    });
    assert_eq!(tower.computed(), 4);
    assert_eq!(server.get("/ready").status, 200);
    let (content_type, body) = form(&[("file", None, &picture(2)[..]); 4]);
    assert_eq!(
        server
            .post("/v1/classify", &content_type, &body)
            .results()
            .len(),
        4
    );
    assert_eq!(server.metric("clipn_queue_images"), 0.0);
}

#[test]
fn what_comes_too_late_is_not_computed() {
    let settings = ServeSettings {
        workers: 1,
        max_batch: 1,
        deadline: Duration::from_millis(400),
        ..settings()
    };
    let (server, gate, tower) = gated(settings);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| server.classify(&picture(1))))
            .collect();
        for request in waiting {
            assert_eq!(request.join().unwrap().error(504), "deadline_exceeded");
        }
    });
    gate.open();
    wait_for("an empty queue", || {
        server.metric("clipn_queue_images") == 0.0
    });
    // The one that was in work is finished; the two behind it are not begun.
    assert_eq!(tower.computed(), 1);
    assert_eq!(server.classify(&picture(1)).results().len(), 1);
}

#[test]
fn nobody_waits_so_nothing_is_computed() {
    let settings = ServeSettings {
        workers: 1,
        max_batch: 1,
        ..settings()
    };
    let (server, gate, tower) = gated(settings);
    let request = request(
        "POST",
        "/v1/classify",
        &[("content-type", "image/bmp")],
        &picture(1),
    );
    let mut streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    wait_for("four pictures", || {
        server.metric("clipn_queue_images") == 4.0
    });
    // Four are in work or wait, of which one is with the worker; three of the others go away.
    let last = streams.pop().unwrap();
    drop(streams);
    wait_for("the log of those that went", || {
        server.metric("clipn_errors_total{code=\"client_gone\"}") == 3.0
    });
    gate.open();
    let mut last = last;
    assert_eq!(Answer::read(&mut last).results().len(), 1);
    wait_for("an empty queue", || {
        server.metric("clipn_queue_images") == 0.0
    });
    assert!(tower.computed() <= 2, "{} were computed", tower.computed());
}

#[test]
fn pictures_of_many_requests_are_computed_together() {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let largest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let tower = TestTower::new(move |pictures, _| {
        seen.fetch_max(pictures, std::sync::atomic::Ordering::SeqCst);
        before.pass();
    });
    let settings = ServeSettings {
        workers: 1,
        max_batch: 8,
        ..settings()
    };
    let server = start(settings, detector_with(tower));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..9)
            .map(|i| {
                let server = &server;
                scope.spawn(move || server.classify(&picture(i)).results())
            })
            .collect();
        wait_for("nine pictures", || {
            server.metric("clipn_decode_seconds_count") == 9.0
        });
        gate.open();
        for (seed, request) in waiting.into_iter().enumerate() {
            let found = detector().detect_bytes(&picture(seed as u32)).unwrap();
            let result = &request.join().unwrap()[0];
            assert!(
                (result["score"].as_f64().unwrap() - found.score).abs() < 1e-5,
                "{result}"
            );
        }
    });
    let largest = largest.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        (2..=8).contains(&largest),
        "{largest} were computed together at most"
    );
}
