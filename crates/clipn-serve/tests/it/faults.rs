//! Panics, stuck workers and shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::*;
use clipn::model::{FeatureMatrix, ImageBatch, ImageTower, ModelError};
use clipn_serve::ServeSettings;

/// Panic payload that panics when it is dropped, so that `catch_unwind` cannot save the thread.
pub(crate) struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("panic in the worker thread");
        }
    }
}

#[test]
fn panic_fails_only_the_image_at_fault() {
    let tower = TestTower::new(|_, red| assert!(!red, "red"));
    let server = start(
        ServeSettings {
            workers: 1,
            ..settings()
        },
        detector_with(tower),
    );
    let (good, red) = (image(1), red());
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

/// Returns NaN for images whose first value is above 1, as a damaged tower does, and else a direction.
struct DamagedTower;

impl ImageTower<f32> for DamagedTower {
    fn embed_dim(&self) -> usize {
        detector().classifier().dim()
    }

    fn image_size(&self) -> usize {
        preprocessing().size
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        let dim = self.embed_dim();
        let rows = images.pixels().chunks_exact(images.image_len());
        let values = rows.flat_map(|image| {
            let first = if image[0] > 1.0 { f32::NAN } else { 1.0 };
            std::iter::repeat_n(first, dim)
        });
        Ok(FeatureMatrix::new(values.collect(), dim))
    }
}

#[test]
fn features_that_are_not_finite_fail_only_their_image() {
    let server = start(settings(), detector_with(Arc::new(DamagedTower)));
    let (good, red) = (image(1), red());
    assert_eq!(server.classify(&red).error(500), "computation_failed");
    let (content_type, body) = form(&[("file", None, &red), ("file", None, &good)]);
    let results = server.post("/v1/classify", &content_type, &body).results();
    assert_eq!(results[0]["error"]["code"], "computation_failed");
    assert!(results[1]["error"].is_null(), "{}", results[1]);
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("outcome=\"error\"} 2") && !metrics.contains("outcome=\"unknown\"} 2"),
        "{metrics}"
    );
}

#[test]
fn restarts_a_worker_after_a_panic() {
    let tower = TestTower::new(|_, red| {
        if red {
            std::panic::panic_any(PanicOnDrop);
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
    assert_eq!(server.classify(&image(1)).results().len(), 1);
    let health = server.get("/health");
    assert_eq!(health.status, 200, "{}", health.text());
    assert_eq!(health.json()["workers"][0]["restarts"], 1);
    assert_eq!(server.metric("clipn_worker_restarts_total"), 1.0);
}

#[test]
fn stops_restarting_after_too_many_panics() {
    let tower = TestTower::new(|_, red| {
        if red {
            std::panic::panic_any(PanicOnDrop);
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
    wait_for("the last worker to be dead", || {
        server.get("/health").status == 503
    });
    let health = server.get("/health").json();
    assert_eq!(health["status"], "failing");
    assert_eq!(health["workers"][0]["state"], "dead");
    assert_eq!(health["workers"][0]["restarts"], 5);
    // The sixth panic is not followed by a restart.
    assert_eq!(server.metric("clipn_worker_restarts_total"), 5.0);
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.classify(&image(1)).error(503), "no_workers");
}

#[test]
fn stuck_worker_is_unhealthy() {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, red| {
        if red {
            before.wait();
        }
    });
    let settings = ServeSettings {
        stuck_timeout: Duration::from_millis(300),
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
                .contains("is stuck: busy with one batch"),
            "{health}"
        );
        gate.open();
        assert_eq!(stuck.join().unwrap().len(), 1);
    });
    wait_for("a healthy server", || server.get("/health").status == 200);
}

#[test]
fn shutdown_waits_for_requests_in_progress() {
    let gate = Arc::<Gate>::default();
    let (before, inside) = (Arc::clone(&gate), Arc::<AtomicBool>::default());
    let entered = Arc::clone(&inside);
    let tower = TestTower::new(move |_, _| {
        entered.store(true, Ordering::SeqCst);
        before.wait();
    });
    let server = start(settings(), detector_with(tower));
    let address = server.address;
    std::thread::scope(|scope| {
        let in_progress = scope.spawn(|| server.classify(&image(1)));
        wait_for("the request to be in progress", || {
            inside.load(Ordering::SeqCst)
        });
        let idle = server.connect();
        server.request_shutdown();
        wait_for("the socket to close", || {
            std::net::TcpStream::connect(address).is_err()
        });
        assert!(!in_progress.is_finished());
        gate.open();
        assert_eq!(in_progress.join().unwrap().results().len(), 1);
        drop(idle);
    });
    assert!(server.shut_down());
}

#[test]
fn shutdown_does_not_wait_for_a_stuck_worker() {
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, _| before.wait());
    let server = start(
        ServeSettings {
            shutdown_grace: Duration::from_millis(300),
            ..settings()
        },
        detector_with(tower),
    );
    let mut stream = server.connect();
    let request = request(
        "POST",
        "/v1/classify",
        &[("content-type", "image/bmp")],
        &image(1),
    );
    std::io::Write::write_all(&mut stream, &request).unwrap();
    wait_for("the request to be in progress", || {
        server.metric("clipn_queue_images") == 1.0
    });
    assert!(!server.shut_down());
    gate.open();
}
