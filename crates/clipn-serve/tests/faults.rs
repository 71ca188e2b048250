//! Workers that fall, and workers that stand still.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clipn_serve::ServeSettings;
use common::*;

/// A panic whose payload panics again when it is thrown away: it takes the whole thread with it.
struct Deadly;

impl Drop for Deadly {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the worker falls");
        }
    }
}

#[test]
fn a_picture_that_panics_fails_alone() {
    let tower = TestTower::new(|_, red| assert!(!red, "red"));
    let server = start(
        ServeSettings {
            workers: 1,
            ..settings()
        },
        detector_with(tower),
    );
    let (good, red) = (picture(1), red());
    let (content_type, body) = form(&[
        ("file", None, &good),
        ("file", None, &red),
        ("file", None, &good),
        ("file", None, &good),
    ]);
    let results = server.post("/v1/classify", &content_type, &body).results();
    let codes: Vec<&str> = results
        .iter()
        .map(|r| r["error"]["code"].as_str().unwrap_or("fine"))
        .collect();
    assert_eq!(codes, ["fine", "computation_failed", "fine", "fine"]);
    assert_eq!(server.classify(&red).error(500), "computation_failed");
    assert_eq!(server.classify(&good).results().len(), 1);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.metric("clipn_worker_restarts_total"), 0.0);
}

#[test]
fn a_worker_that_falls_is_started_again() {
    let tower = TestTower::new(|_, red| {
        if red {
            std::panic::panic_any(Deadly);
        }
    });
    let server = start(
        ServeSettings {
            workers: 1,
            ..settings()
        },
        detector_with(tower),
    );
    assert_eq!(server.classify(&red()).error(500), "computation_failed");
    assert_eq!(server.classify(&picture(1)).results().len(), 1);
    let health = server.get("/health");
    assert_eq!(health.status, 200, "{}", health.text());
    assert_eq!(health.json()["workers"][0]["restarts"], 1);
    assert_eq!(server.metric("clipn_worker_restarts_total"), 1.0);
}

#[test]
fn a_worker_that_falls_too_often_stays_down_and_that_is_unhealthy() {
    let tower = TestTower::new(|_, red| {
        if red {
            std::panic::panic_any(Deadly);
        }
    });
    let server = start(
        ServeSettings {
            workers: 1,
            ..settings()
        },
        detector_with(tower),
    );
    for _ in 0..6 {
        assert_eq!(server.classify(&red()).error(500), "computation_failed");
    }
    wait_for("the last worker to be down", || {
        server.get("/health").status == 503
    });
    let health = server.get("/health").json();
    assert_eq!(health["status"], "failing");
    assert_eq!(health["workers"][0]["state"], "dead");
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.classify(&picture(1)).error(503), "no_workers");
}

#[test]
fn a_worker_that_stands_still_is_unhealthy() {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, red| {
        if red {
            before.pass();
        }
    });
    let settings = ServeSettings {
        stuck_after: Duration::from_millis(300),
        ..settings()
    };
    let server = start(settings, detector_with(tower));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| server.classify(&red()).results());
        wait_for("an unhealthy server", || {
            server.get("/health").status == 503
        });
        let health = server.get("/health").json();
        assert!(
            health["problems"][0]
                .as_str()
                .unwrap()
                .contains("has been at a batch"),
            "{health}"
        );
        gate.open();
        assert_eq!(stuck.join().unwrap().len(), 1);
    });
    wait_for("a healthy server", || server.get("/health").status == 200);
}

#[test]
fn requests_in_work_are_answered_before_the_end() {
    let gate = Arc::<Gate>::default();
    let (before, inside) = (Arc::clone(&gate), Arc::<AtomicBool>::default());
    let entered = Arc::clone(&inside);
    let tower = TestTower::new(move |_, _| {
        entered.store(true, Ordering::SeqCst);
        before.pass();
    });
    let server = start(settings(), detector_with(tower));
    let address = server.address;
    std::thread::scope(|scope| {
        let in_work = scope.spawn(|| server.classify(&picture(1)));
        wait_for("the request to be in work", || {
            inside.load(Ordering::SeqCst)
        });
        let idle = server.connect();
        server.ask_to_stop();
        wait_for("the socket to close", || {
            std::net::TcpStream::connect(address).is_err()
        });
        assert!(!in_work.is_finished());
        gate.open();
        assert_eq!(in_work.join().unwrap().results().len(), 1);
        drop(idle);
    });
    assert!(server.ended());
}

#[test]
fn the_end_comes_although_a_worker_stands_still() {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, _| before.pass());
    let server = start(
        ServeSettings {
            grace: Duration::from_millis(300),
            ..settings()
        },
        detector_with(tower),
    );
    let mut stream = server.connect();
    let request = request(
        "POST",
        "/v1/classify",
        &[("content-type", "image/bmp")],
        &picture(1),
    );
    std::io::Write::write_all(&mut stream, &request).unwrap();
    wait_for("the request to be in work", || {
        server.metric("clipn_queue_images") == 1.0
    });
    assert!(!server.ended());
    gate.open();
}
