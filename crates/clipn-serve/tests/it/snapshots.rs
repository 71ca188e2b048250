//! Snapshots of what clients see: the OpenAPI document, error responses, a classification response
//! and the metrics.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use crate::faults::PanicOnDrop;
use clipn_serve::{ApiKeys, ServeSettings};
use serde_json::{Value, json};

/// Checks a text against the snapshot of this name.
#[track_caller]
fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[track_caller]
fn assert_json(name: &str, value: &Value) {
    assert_text(name, &serde_json::to_string_pretty(value).unwrap());
}

/// Rounds every number that is not an integer to two decimals: the last bits depend on the
/// instruction set.
fn rounded(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            *value = json!((number.as_f64().unwrap() * 100.0).round() / 100.0);
        }
        Value::Array(values) => values.iter_mut().for_each(rounded),
        Value::Object(map) => map.values_mut().for_each(rounded),
        _ => {}
    }
}

/// Replaces every number between spaces and punctuation.
fn without_numbers(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let number = word.trim_matches(['(', ')', ',', ';', ':']);
        if number.parse::<f64>().is_ok() {
            word.replace(number, "[number]")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn classification_response() {
    let server = start(settings(), detector());
    let (content_type, body) = form(&[
        ("file", Some("bus.bmp"), &image(1)),
        ("file", Some("text.bmp"), b"not an image"),
    ]);
    let mut response = server.post("/v1/classify", &content_type, &body).json();
    for result in response["results"].as_array_mut().unwrap() {
        result["id"] = json!("[id]");
        if let Some(reason) = result.get_mut("reason") {
            *reason = json!(without_numbers(reason.as_str().unwrap()));
        }
    }
    response["duration_ms"] = json!("[duration]");
    rounded(&mut response);
    assert_json("classify", &response);
}

/// Name and help text of every metric, with its type and unit.
#[test]
fn metrics() {
    let server = start(settings(), detector());
    server.classify(&image(1)).results();
    server.classify(b"not an image").error(415);
    let text = server.get("/metrics").text();
    let described: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("# ") && *line != "# EOF")
        .collect();
    assert_text("metrics", &described.join("\n"));
}

/// Error responses in the order in which they were recorded.
#[derive(Default)]
struct ErrorLog(Vec<String>);

impl ErrorLog {
    /// Records the status, the headers that belong to errors, and the body.
    #[track_caller]
    fn record(&mut self, what: &str, response: &HttpResponse) {
        response.error(response.status);
        let mut lines = vec![format!("{what}\n{}", response.status)];
        for name in ["retry-after", "www-authenticate"] {
            if let Some(value) = response.header(name) {
                lines.push(format!("{name}: {value}"));
            }
        }
        lines.push(response.text());
        self.0.push(lines.join("\n"));
    }

    fn text(&self) -> String {
        self.0.join("\n\n")
    }
}

#[test]
fn errors_of_requests() {
    let mut log = ErrorLog::default();
    let limited = ServeSettings {
        max_request_bytes: 10_000,
        max_images: 2,
        max_classes: 3,
        read_timeout: Duration::from_millis(300),
        ..settings()
    };
    let server = start(limited, detector());
    let json = |text: &str| server.post("/v1/classify", "application/json", text.as_bytes());
    log.record("GET /nowhere", &server.get("/nowhere"));
    log.record("GET /v1/classify", &server.get("/v1/classify"));
    log.record("invalid JSON", &json("{"));
    log.record("an array", &json(r#"[[], 3]"#));
    log.record("unknown key", &json(r#"{"images": [], "tops": 1}"#));
    log.record("no image", &json(r#"{"images": []}"#));
    log.record(
        "unknown query parameter",
        &server.post("/v1/classify?tops=1", "image/bmp", &image(1)),
    );
    log.record(
        "class name that is not UTF-8",
        &server.post("/v1/classify?classes=cat,%ff%fe", "image/bmp", &image(1)),
    );
    log.record(
        "top is out of range",
        &server.post("/v1/classify?top=0", "image/bmp", &image(1)),
    );
    log.record(
        "form without boundary",
        &server.post("/v1/classify", "multipart/form-data", b""),
    );
    log.record(
        "unknown media type",
        &server.post("/v1/classify", "text/plain", b"hello"),
    );
    log.record("too many bytes", &server.classify(&[0; 10_001]));
    let three = json!({ "images": vec![json!({ "base64": "" }); 3] });
    log.record("too many images", &server.classify_json(&three));
    for (what, classes) in [
        ("no classes", json!([])),
        ("too many classes", json!(["a", "b", "c", "d"])),
        ("empty class name", json!(["a", " "])),
        ("long class name", json!(["x".repeat(101)])),
        ("control character", json!(["a\nb"])),
        ("duplicate class", json!(["a", "a "])),
    ] {
        let request = json!({ "images": [{ "base64": "" }], "classes": classes });
        log.record(what, &server.classify_json(&request));
    }
    let mut slow = server.connect();
    let head = "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    log.record("slow body", &HttpResponse::read(&mut slow));
    assert_text("errors-requests", &log.text());
}

#[test]
fn errors_of_keys_and_fixed_classes() {
    let mut log = ErrorLog::default();
    let api_keys = ApiKeys::new(["0123456789abcdef"]).unwrap();
    let settings = ServeSettings {
        api_keys,
        ..settings()
    };
    let server = start_with(settings, detector(), None);
    log.record("no key", &server.get("/v1/info"));
    let custom = server.request(
        "POST",
        "/v1/classify?classes=pizza,unicorn",
        &[("x-api-key", "0123456789abcdef")],
        &image(1),
    );
    log.record("custom class without text towers", &custom);
    assert_text("errors-access", &log.text());
}

#[test]
fn errors_of_images() {
    let mut log = ErrorLog::default();
    let server = start(settings(), detector());
    let good = image(3);
    log.record("empty image", &server.classify(b""));
    log.record("not an image", &server.classify(b"%PDF-1.7 and so on"));
    log.record("truncated image", &server.classify(&good[..good.len() / 2]));
    log.record(
        "too many pixels",
        &server.classify(&png(60_000, 60_000, &[0])),
    );
    let base64 = json!({ "images": [{ "base64": "a*" }] });
    log.record("damaged image", &server.classify(&png(10, 10, b"")));
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf";
    log.record("unsupported format", &server.classify(avif));
    log.record("invalid Base64", &server.classify_json(&base64));
    assert_text("errors-images", &log.text());
}

#[test]
fn error_of_connections() {
    let mut log = ErrorLog::default();
    let limited = ServeSettings {
        max_connections: 1,
        ..settings()
    };
    let server = start(limited, detector());
    let mut open = server.connect();
    // The response shows that the connection was accepted.
    open.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    assert!(open.read(&mut [0; 100]).unwrap() > 0);
    log.record("too many connections", &server.get("/health"));
    assert_text("errors-connections", &log.text());
}

#[test]
fn error_without_workers() {
    let mut log = ErrorLog::default();
    let tower = TestTower::new(|_, _| std::panic::panic_any(PanicOnDrop));
    let one_worker = ServeSettings {
        workers: 1,
        ..settings()
    };
    let server = start(one_worker, detector_with(tower));
    wait_for("the worker to be dead", || {
        server.classify(&image(1)).status == 503
    });
    log.record("dead workers", &server.classify(&image(1)));
    assert_text("errors-workers", &log.text());
}

#[test]
fn errors_of_inference() {
    let mut log = ErrorLog::default();
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, red| {
        assert!(!red, "red");
        before.wait();
    });
    let limited = ServeSettings {
        workers: 1,
        max_queued_images: 1,
        max_images: 1,
        deadline: Duration::from_millis(500),
        ..settings()
    };
    let server = start(limited, detector_with(tower));
    log.record("panic in the image tower", &server.classify(&red()));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| server.classify(&image(1)));
        wait_for("a full queue", || {
            server.metric("clipn_queue_images") == 1.0
        });
        log.record("full queue", &server.classify(&image(1)));
        log.record("deadline", &late.join().unwrap());
        gate.open();
    });
    assert_text("errors-inference", &log.text());
}
