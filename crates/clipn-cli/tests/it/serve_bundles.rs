//! `clipn serve` with several bundles, with bundles that change, and with settings from variables.

use std::time::{Duration, Instant};

use crate::common::{Sandbox, is_error_report, text};
use crate::serve::{CLASSES, Served, command, spawn};
use serde_json::{Value, json};

fn build(s: &Sandbox, classes: &str, file: &str) {
    let build = ["classifier", "build", "--templates", "simple", "--force"];
    s.done(&[&build[..], &["--classes", classes, "--out", file]].concat());
}

fn info(served: &Served, bundle: &str) -> Value {
    served
        .request("GET", &format!("/v1/bundles/{bundle}/info"), "", b"")
        .1
}

/// The bundles that the server lists.
fn bundles(served: &Served) -> Vec<Value> {
    let list = served.request("GET", "/v1/bundles", "", b"").1;
    list["bundles"].as_array().unwrap().clone()
}

/// The names of the classes in an answer, sorted.
fn labels(s: &Sandbox, served: &Served, path: &str) -> Vec<String> {
    let image = std::fs::read(s.path("photos/red.bmp")).unwrap();
    let (status, answer) = served.request("POST", path, "content-type: image/bmp\r\n", &image);
    assert_eq!(status, 200, "{answer}");
    let top = answer["results"][0]["top"].as_array().unwrap();
    let mut labels: Vec<String> = top
        .iter()
        .map(|class| class["label"].as_str().unwrap().to_owned())
        .collect();
    labels.sort();
    labels
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "timeout: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of a JSON log with a message.
fn logged(log: &str, message: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line))
        .filter(|line| line["message"] == message)
        .collect()
}

const SHOP: [&str; 3] = ["goldfish", "pizza", "school bus"];

#[test]
fn several_bundles_are_served_and_opened_again_when_they_change() {
    let s = Sandbox::new();
    build(&s, CLASSES, "shop.clipn");
    build(&s, "teapot, banana", "cars.clipn");
    let both = ["--bundle", "shop=shop.clipn", "--bundle", "cars=cars.clipn"];
    let more = ["--port", "0", "--reload-ms", "30", "--log-format", "json"];
    let served = spawn(command(&s, &[&both[..], &more].concat()));
    assert_eq!(labels(&s, &served, "/v1/classify"), SHOP);
    assert_eq!(labels(&s, &served, "/v1/bundles/shop/classify"), SHOP);
    assert_eq!(
        labels(&s, &served, "/v1/bundles/cars/classify"),
        ["banana", "teapot"]
    );
    // Both share the text towers.
    for bundle in ["shop", "cars"] {
        let path = format!("/v1/bundles/{bundle}/classes");
        let custom = br#"{"classes": ["apple"]}"#;
        assert_eq!(served.request("POST", &path, "", custom).0, 200);
    }
    let names: Vec<Value> = bundles(&served).iter().map(|b| b["name"].clone()).collect();
    assert_eq!(names, ["shop", "cars"]);

    build(&s, "zeppelin,", "cars.clipn");
    wait_for("the new classes", || {
        info(&served, "cars")["classes"] == json!(["zeppelin"])
    });
    assert_eq!(
        labels(&s, &served, "/v1/bundles/cars/classify"),
        ["zeppelin"]
    );
    s.write("shop.clipn", "damaged");
    wait_for("the damage", || bundles(&served)[0]["stale"] == true);
    assert_eq!(labels(&s, &served, "/v1/classify"), SHOP);

    served.signal("-TERM");
    let address = served.address.clone();
    let (code, log) = served.wait();
    assert_eq!(code, Some(0), "{log}");
    let listening = &logged(&log, "listening")[0];
    assert_eq!(listening["address"], address, "{listening}");
    assert_eq!(listening["bundles"], "shop, cars");
    assert_eq!(logged(&log, "bundle reloaded").len(), 1, "{log}");
    let failed = logged(
        &log,
        "cannot reload the bundle; the one before stays in service",
    );
    assert_eq!(
        (failed.len(), &failed[0]["level"], &failed[0]["bundle"]),
        (1, &json!("WARN"), &json!("shop"))
    );
}

#[test]
fn variables_may_hold_host_names_sizes_and_several_bundles() {
    let s = Sandbox::new();
    build(&s, CLASSES, "shop.clipn");
    build(&s, "teapot,", "cars.clipn");
    let mut command = command(&s, &[]);
    command
        .env("CLIPN_PORT", "0")
        .env("CLIPN_HOST", "localhost")
        .env("CLIPN_MAX_REQUEST_BYTES", "1.5MiB")
        .env("CLIPN_BUNDLE", "shop=shop.clipn,cars=cars.clipn");
    let served = spawn(command);
    assert!(
        served.address.starts_with("127.0.0.1:") || served.address.starts_with("[::1]:"),
        "{}",
        served.address
    );
    assert_eq!(info(&served, "cars")["classes"], json!(["teapot"]));
    assert_eq!(info(&served, "shop")["limits"]["request_bytes"], 3 << 19);
}

#[test]
fn a_wrong_value_of_a_variable_names_the_variable() {
    let s = Sandbox::new();
    let refused = |variable: &str, value: &str, arguments: &[&str]| {
        let always = ["--classes", CLASSES, "--templates", "simple"];
        let output = command(&s, &[&always[..], arguments].concat())
            .env(variable, value)
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert!(is_error_report(&stderr), "{stderr}");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        stderr
    };
    for (variable, value, reason) in [
        ("CLIPN_HOST", "no host", "cannot be resolved"),
        (
            "CLIPN_MAX_REQUEST_BYTES",
            "many",
            "such as 33554432 or 32MiB",
        ),
        ("CLIPN_PORT", "eighty", "--port"),
    ] {
        let stderr = refused(variable, value, &[]);
        let hint = format!("hint: the value is that of the environment variable {variable}\n");
        assert!(
            stderr.contains(value) && stderr.contains(reason),
            "{stderr}"
        );
        assert!(stderr.contains(&hint), "{stderr}");
    }
    // A flag wins over the variable.
    let stderr = refused("CLIPN_PORT", "eighty", &["--port", "eighty"]);
    assert!(!stderr.contains("variable"), "{stderr}");
}

#[test]
fn wrong_bundles_are_refused() {
    let s = Sandbox::new();
    build(&s, "teapot,", "cars.clipn");
    let cars = std::fs::read(s.path("cars.clipn")).unwrap();
    s.write("old cars.clipn", cars);
    for (bundles, code, reason) in [
        (
            &["a=cars.clipn", "a=cars.clipn"][..],
            2,
            "duplicate bundle name \"a\"",
        ),
        (
            &["our cars=cars.clipn"],
            2,
            "invalid bundle name \"our cars\"",
        ),
        (
            &["old cars.clipn", "cars.clipn"],
            2,
            "old cars.clipn needs a name",
        ),
        (&["a=cars.clipn", "b=missing.clipn"], 1, "missing.clipn"),
    ] {
        let flags = bundles.iter().flat_map(|bundle| ["--bundle", bundle]);
        let arguments: Vec<&str> = flags.chain(["--port", "0", "--quiet"]).collect();
        let output = command(&s, &arguments).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
    let twice = ["--bundle", "cars.clipn", "--bundle", "cars.clipn", "photos"];
    let output = s.clipn(&[&["classify"][..], &twice].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--bundle can be given only once"));
}
