//! Overload: full queue, deadlines, disconnected clients and batching.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use clipn_serve::ServeSettings;

/// Starts a server whose image tower blocks until the gate is open.
fn gated(settings: ServeSettings) -> (TestServer, Arc<Gate>, Arc<TestTower>) {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, _| before.wait());
    (start(settings, detector_with(tower.clone())), gate, tower)
}

#[test]
fn rejects_requests_at_once_if_the_queue_is_full() {
    let settings = ServeSettings {
        max_queued_images: 4,
        max_images: 4,
        max_batch: 1,
        ..settings()
    };
    let (server, gate, tower) = gated(settings);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.classify(&image(1)).status))
            .collect();
        wait_for("a full queue", || {
            server.metric("clipn_queue_images") == 4.0
        });
        let refused = server.classify(&image(1));
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
    assert_eq!(tower.encoded(), 4);
    assert_eq!(server.get("/ready").status, 200);
    let (content_type, body) = form(&[("file", None, &image(2)[..]); 4]);
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
fn images_past_their_deadline_are_not_encoded() {
    let settings = ServeSettings {
        workers: 1,
        max_batch: 1,
        deadline: Duration::from_millis(400),
        ..settings()
    };
    let (server, gate, tower) = gated(settings);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| server.classify(&image(1))))
            .collect();
        for request in waiting {
            assert_eq!(request.join().unwrap().error(504), "deadline_exceeded");
        }
    });
    gate.open();
    wait_for("an empty queue", || {
        server.metric("clipn_queue_images") == 0.0
    });
    // The image in progress is finished; the two behind it are not started. No client has disconnected.
    assert_eq!(tower.encoded(), 1);
    assert_eq!(server.metric("clipn_images_abandoned_total"), 0.0);
    assert_eq!(server.classify(&image(1)).results().len(), 1);
}

#[test]
fn images_of_disconnected_clients_are_not_encoded() {
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
        &image(1),
    );
    let mut streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    wait_for("four admitted images", || {
        server.metric("clipn_queue_images") == 4.0
    });
    // Of four admitted images, one is in progress. Disconnect three of the clients.
    let last = streams.pop().unwrap();
    drop(streams);
    wait_for("three disconnected clients", || {
        server.metric("clipn_errors_total{code=\"client_gone\"}") == 3.0
    });
    gate.open();
    let mut last = last;
    assert_eq!(HttpResponse::read(&mut last).results().len(), 1);
    wait_for("an empty queue", || {
        server.metric("clipn_queue_images") == 0.0
    });
    assert!(
        tower.encoded() <= 2,
        "{} images were encoded",
        tower.encoded()
    );
}

#[test]
fn images_of_several_requests_share_a_batch() {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let largest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let tower = TestTower::new(move |images, _| {
        seen.fetch_max(images, std::sync::atomic::Ordering::SeqCst);
        before.wait();
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
                scope.spawn(move || server.classify(&image(i)).results())
            })
            .collect();
        wait_for("nine decoded images", || {
            server.metric("clipn_decode_seconds_count") == 9.0
        });
        gate.open();
        for (seed, request) in waiting.into_iter().enumerate() {
            let expected = detector().detect_bytes(&image(seed as u32)).unwrap();
            let result = &request.join().unwrap()[0];
            assert!(
                (result["score"].as_f64().unwrap() - expected.score).abs() < 1e-5,
                "{result}"
            );
        }
    });
    let largest = largest.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        (2..=8).contains(&largest),
        "the largest batch has {largest} images"
    );
}
