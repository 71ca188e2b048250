//! Several bundles in one server, and bundles whose files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::*;
use clipn::bundle::{Bundle, BundleError};
use clipn::calibration::{CalibrationSettings, calibrate};
use clipn::detector::{Detector, DetectorError};
use clipn::model::PretrainedWeights;
use clipn_serve::{ServeSettings, ServedBundle, ServedModel, Server};
use serde_json::{Value, json};

/// Settings with which a changed file is seen within 40 ms.
fn watching() -> ServeSettings {
    ServeSettings {
        reload_interval: Duration::from_millis(20),
        ..settings()
    }
}

/// Writes a bundle to another name, and renames it into place as `clipn classifier build` does.
fn write(path: &Path, classes: &[&str]) {
    let bundle =
        Bundle::build(classes.iter().copied(), &PretrainedWeights::mini().unwrap()).unwrap();
    bundle.write(path).unwrap();
}

/// Opens a bundle with the image tower of a model in service, if it is the same.
fn open(path: &Path, others: &[ServedModel]) -> Result<ServedModel, DetectorError> {
    let bundle = Bundle::open(path)?;
    let twin = others
        .iter()
        .find(|other| other.detector.has_tower_of(&bundle));
    let detector = match twin {
        Some(twin) => twin.detector.open_with_same_tower(bundle)?,
        None => Detector::new(bundle, weights())?,
    };
    Ok(ServedModel::new(detector, "clipn-mini"))
}

fn served(name: &str, path: &Path, others: &[ServedModel]) -> ServedBundle {
    let file = path.to_owned();
    ServedBundle::open(name, path, others, move |others| open(&file, others)).unwrap()
}

fn file(directory: &tempfile::TempDir, name: &str) -> PathBuf {
    directory.path().join(name)
}

fn classify_with(server: &TestServer, bundle: &str) -> HttpResponse {
    let path = format!("/v1/bundles/{bundle}/classify?top=10");
    server.post(&path, "image/bmp", &image(1))
}

/// The names of the classes in the first result, sorted.
fn labels(response: &HttpResponse) -> Vec<String> {
    let results = response.results();
    let top = results[0]["top"].as_array().unwrap();
    let mut labels: Vec<String> = top
        .iter()
        .map(|class| class["label"].as_str().unwrap().to_owned())
        .collect();
    labels.sort();
    labels
}

/// The entry of a bundle in `/v1/bundles`.
fn listed(server: &TestServer, name: &str) -> Value {
    let list = server.get("/v1/bundles").json();
    let mut bundles = list["bundles"].as_array().unwrap().iter();
    bundles.find(|entry| entry["name"] == name).unwrap().clone()
}

#[test]
fn bundles_answer_under_their_names_and_share_an_image_tower() {
    let directory = tempfile::tempdir().unwrap();
    let (shop, pets) = (
        file(&directory, "shop.clipn"),
        file(&directory, "pets.clipn"),
    );
    write(&shop, &["pizza", "school bus"]);
    write(&pets, &["goldfish"]);
    let shop = served("shop", &shop, &[]);
    let pets = served("pets", &pets, std::slice::from_ref(shop.model()));
    assert!(pets.model().detector.shares_tower(&shop.model().detector));
    let server = start_bundles(settings(), vec![shop, pets]);

    assert_eq!(
        labels(&classify_with(&server, "shop")),
        ["pizza", "school bus"]
    );
    assert_eq!(labels(&classify_with(&server, "pets")), ["goldfish"]);
    // Without a name, the first bundle answers.
    let first = server.post("/v1/classify?top=10", "image/bmp", &image(1));
    assert_eq!(labels(&first), ["pizza", "school bus"]);
    assert_eq!(server.get("/v1/info").json()["bundle"], "shop");
    let info = server.get("/v1/bundles/pets/info").json();
    assert_eq!(
        (&info["bundle"], &info["classes"]),
        (&json!("pets"), &json!(["goldfish"]))
    );
    let names = server.get("/v1/bundles").json();
    let names: Vec<&Value> = names["bundles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| &b["name"])
        .collect();
    assert_eq!(names, ["shop", "pets"]);
    assert_eq!(classify_with(&server, "cars").error(404), "unknown_bundle");
    assert_eq!(
        server.get("/v1/bundles/cars/info").error(404),
        "unknown_bundle"
    );
    assert_eq!(
        server.get("/v1/bundles/shop/classify").error(405),
        "method_not_allowed"
    );

    let images = |bundle: &str| -> f64 {
        ["label", "unknown"]
            .map(|outcome| {
                format!("clipn_images_total{{bundle=\"{bundle}\",outcome=\"{outcome}\"}}")
            })
            .iter()
            .map(|series| server.metric(series))
            .sum()
    };
    assert_eq!((images("shop"), images("pets")), (2.0, 1.0));
    assert_eq!(server.metric("clipn_score_count{bundle=\"pets\"}"), 1.0);
    // One image tower has one set of workers.
    let workers = server.get("/health").json()["workers"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(workers, settings().workers);
}

#[test]
fn bundles_of_different_towers_have_their_own_workers() {
    let server = start_bundles(
        settings(),
        vec![bundle("a", &["pizza"]), bundle("b", &["goldfish"])],
    );
    for (name, label) in [("a", "pizza"), ("b", "goldfish")] {
        assert_eq!(labels(&classify_with(&server, name)), [label]);
    }
    let workers = server.get("/health").json()["workers"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(workers, 2 * settings().workers);
    let custom = server.post(
        "/v1/bundles/b/classes",
        "application/json",
        br#"{"classes": ["teapot"]}"#,
    );
    assert_eq!(custom.status, 200, "{}", custom.text());
}

#[test]
fn names_of_bundles_are_checked() {
    let bind = |names: &[&str]| {
        let bundles = names.iter().map(|name| bundle(name, &["pizza"]));
        Server::bind_bundles(settings(), bundles.collect())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(bind(&[]), "expected at least 1 bundle, got 0");
    assert_eq!(bind(&["a", "a"]), "duplicate bundle name \"a\"");
    for name in ["", "a/b", "a b", "é", "a\"", &"x".repeat(65)] {
        assert!(bind(&[name]).starts_with("invalid bundle name"), "{name}");
    }
}

#[test]
fn a_changed_bundle_is_reloaded_without_a_lost_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "shop.clipn");
    write(&path, &["pizza"]);
    let server = start_bundles(watching(), vec![served("shop", &path, &[])]);
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let found = labels(&classify_with(&server, "shop"));
                    assert!(
                        found == ["pizza"] || found == ["goldfish", "pizza"],
                        "{found:?}"
                    );
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 1..=3 {
            write(
                &path,
                if round % 2 == 1 {
                    &["pizza", "goldfish"]
                } else {
                    &["pizza"]
                },
            );
            wait_for("the reload", || listed(&server, "shop")["reloads"] == round);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(requests.load(Ordering::SeqCst) > 3);
    assert_eq!(
        labels(&classify_with(&server, "shop")),
        ["goldfish", "pizza"]
    );
    assert_eq!(
        server.metric("clipn_bundle_reloads_total{bundle=\"shop\",outcome=\"success\"}"),
        3.0
    );
    assert_eq!(server.metric("clipn_errors_total{code=\"internal\"}"), 0.0);
    // The image tower is the one before: the workers go on.
    let workers = server.get("/health").json()["workers"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(workers, settings().workers);
}

#[test]
fn a_reload_that_loses_the_calibration_is_visible() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "shop.clipn");
    let weights = PretrainedWeights::mini().unwrap();
    let bundle = Bundle::build(["pizza", "goldfish"], &weights).unwrap();
    let scores: Vec<f64> = (1..=40).map(|i| -f64::from(i) / 100.0).collect();
    let calibration = calibrate(&scores, &[], &CalibrationSettings::default()).unwrap();
    bundle.with_calibration(calibration).write(&path).unwrap();
    let server = start_bundles(watching(), vec![served("shop", &path, &[])]);
    assert_eq!(listed(&server, "shop")["calibrated"], true);
    write(&path, &["pizza", "goldfish"]);
    wait_for("the reload", || listed(&server, "shop")["reloads"] == 1);
    assert_eq!(listed(&server, "shop")["calibrated"], false);
}

#[test]
fn a_request_in_progress_finishes_with_the_bundle_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "classes.txt");
    std::fs::write(&path, "pizza").unwrap();
    // Each time that the file is opened, with an image tower of its own.
    let gate = Arc::<Gate>::default();
    let (read, started) = (path.clone(), Arc::<AtomicUsize>::default());
    let (gate_of_tower, started_of_tower) = (Arc::clone(&gate), Arc::clone(&started));
    let open = move |_: &[ServedModel]| -> std::io::Result<ServedModel> {
        let names = std::fs::read_to_string(&read)?;
        let names: Vec<&str> = names.lines().collect();
        let (gate, started) = (Arc::clone(&gate_of_tower), Arc::clone(&started_of_tower));
        let is_first = names == ["pizza"];
        let tower = TestTower::new(move |_, _| {
            if is_first {
                started.fetch_add(1, Ordering::SeqCst);
                gate.wait();
            }
        });
        Ok(ServedModel::new(detector_of(&names, tower), "clipn-mini"))
    };
    let bundle = ServedBundle::open("shop", &path, &[], open).unwrap();
    let server = start_bundles(watching(), vec![bundle]);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| classify_with(&server, "shop"));
        wait_for("the request to be in the tower", || {
            started.load(Ordering::SeqCst) == 1
        });
        std::fs::write(&path, "goldfish\nschool bus").unwrap();
        wait_for("the reload", || listed(&server, "shop")["reloads"] == 1);
        // A later request is answered by the new bundle, while the early one still waits.
        assert_eq!(
            labels(&classify_with(&server, "shop")),
            ["goldfish", "school bus"]
        );
        assert!(!early.is_finished());
        gate.open();
        assert_eq!(labels(&early.join().unwrap()), ["pizza"]);
    });
}

#[test]
fn a_bundle_that_cannot_be_opened_leaves_the_one_before_in_service() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "shop.clipn");
    write(&path, &["pizza"]);
    let server = start_bundles(watching(), vec![served("shop", &path, &[])]);
    let failures =
        || server.metric("clipn_bundle_reloads_total{bundle=\"shop\",outcome=\"failure\"}");
    assert_eq!(
        (failures(), &listed(&server, "shop")["stale"]),
        (0.0, &json!(false))
    );

    std::fs::write(&path, "this is no bundle").unwrap();
    wait_for("the failure", || listed(&server, "shop")["stale"] == true);
    assert_eq!(labels(&classify_with(&server, "shop")), ["pizza"]);
    assert_eq!(listed(&server, "shop")["reloads"], 0);
    // It is not tried again and again.
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(failures(), 1.0);

    std::fs::remove_file(&path).unwrap();
    wait_for("the missing file", || failures() == 2.0);
    assert_eq!(labels(&classify_with(&server, "shop")), ["pizza"]);

    write(&path, &["goldfish"]);
    wait_for("the reload", || listed(&server, "shop")["reloads"] == 1);
    assert_eq!(listed(&server, "shop")["stale"], false);
    assert_eq!(labels(&classify_with(&server, "shop")), ["goldfish"]);
    assert_eq!(server.get("/ready").status, 200);
}

#[test]
fn the_first_opening_of_a_bundle_must_succeed() {
    let missing = Path::new("missing.clipn");
    let opened = ServedBundle::open("shop", missing, &[], |_| open(missing, &[]));
    assert!(matches!(
        opened.unwrap_err(),
        DetectorError::Bundle(BundleError::NotFound { .. })
    ));
}
