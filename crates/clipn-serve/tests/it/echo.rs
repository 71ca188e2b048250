//! What of a request comes back in a response.

use crate::common::*;
use serde_json::{Value, json};

/// Checks an error: it is short, and has no control characters.
#[track_caller]
fn assert_cut(response: &HttpResponse, start: &str) -> String {
    let error = response.json();
    let message = error["error"]["message"].as_str().unwrap().to_owned();
    assert!((400..500).contains(&response.status), "{message}");
    assert!(response.body.len() < 1000, "{} bytes", response.body.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(message.starts_with(start), "{message}");
    message
}

#[test]
fn errors_do_not_repeat_a_large_request() {
    let server = start(settings(), detector());
    let large = "A".repeat(5_000_000);
    let json = |path: &str, body: &Value| {
        server.post(path, "application/json", body.to_string().as_bytes())
    };
    let image = json!({ "images": [large.as_str()] });
    let message = assert_cut(
        &json("/v1/classify", &image),
        "invalid JSON: invalid type: string \"AAA",
    );
    assert!(message.contains("more characters"), "{message}");
    assert!(message.contains("line 1 column"), "{message}");
    let key = json!({ large.as_str(): 1 });
    let message = assert_cut(
        &json("/v1/classify", &key),
        "invalid JSON: unknown field `AAA",
    );
    assert!(
        message.contains("expected one of `images`, `top`, `classes`"),
        "{message}"
    );
    assert_cut(
        &json("/v1/classes", &image),
        "invalid JSON: unknown field `images`",
    );
    assert_cut(
        &json("/v1/classes", &json!({ "classes": large.as_str() })),
        "invalid JSON: ",
    );
    assert_cut(
        &json("/v1/classes", &json!({ "classes": [large.as_str()] })),
        "the name of class 1",
    );
    let (content_type, body) = form(&[("classes", None, format!("[{large}]").as_bytes())]);
    assert_cut(
        &server.post("/v1/classify", &content_type, &body),
        "`classes` is not a JSON array",
    );
    let (content_type, body) = form(&[("top", None, large.as_bytes())]);
    assert_cut(
        &server.post("/v1/classify", &content_type, &body),
        "invalid `top`",
    );
    let base64 = json!({ "images": [{ "base64": format!("{large}*") }] });
    assert_cut(&json("/v1/classify", &base64), "invalid Base64");
}

#[test]
fn errors_do_not_repeat_long_heads() {
    let server = start(settings(), detector());
    let long = "a".repeat(20_000);
    assert_cut(&server.get(&format!("/{long}")), "no such path: /aaa");
    assert_cut(
        &server.get(&format!("/v1/bundles/{long}/info")),
        "unknown bundle `aaa",
    );
    assert_cut(
        &server.request(&"M".repeat(20_000), "/v1/info", &[], b""),
        "MMM",
    );
    let query = format!("/v1/classify?{long}=1");
    assert_cut(
        &server.post(&query, "image/bmp", &image(1)),
        "invalid query: ",
    );
    let query = format!("/v1/classify?top={long}");
    assert_cut(
        &server.post(&query, "image/bmp", &image(1)),
        "invalid query: ",
    );
    assert_cut(
        &server.post("/v1/classify", &format!("text/{long}"), b""),
        "unsupported media type `text/aaa",
    );
    assert_cut(
        &server.post("/v1/classify", &format!("multipart/{long}"), b""),
        "unsupported media type",
    );
}

#[test]
fn control_characters_of_a_request_are_escaped() {
    let server = start(settings(), detector());
    let escape = "\u{1b}[31m\u{202e}";
    let key = json!({ escape: 1 });
    let response = server.classify_json(&key);
    let message = assert_cut(&response, "invalid JSON: unknown field");
    assert!(message.contains("\\u{1b}[31m\\u{202e}"), "{message}");
    let name = server.get("/v1/bundles/%1B%5B31m/info");
    let message = assert_cut(&name, "unknown bundle");
    assert!(message.contains("\\u{1b}[31m"), "{message}");
    let query = server.post("/v1/classify?%1B%5B31m=1", "image/bmp", &image(1));
    assert!(assert_cut(&query, "invalid query").contains("\\u{1b}[31m"));
    assert_cut(
        &server.post("/v1/classify?classes=a%1Bb", "image/bmp", &image(1)),
        "the name of class 1 contains control characters",
    );
}

#[test]
fn base64_with_line_ends_and_the_url_alphabet_is_answered() {
    let server = start(settings(), detector());
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../clipn-testing/fixtures/cases/requests"
    );
    let answers = ["wrapped-base64.json", "url-safe-base64.json"].map(|name| {
        let body = std::fs::read(format!("{fixtures}/{name}")).unwrap();
        let response = server.post("/v1/classify", "application/json", &body);
        response.results().remove(0)
    });
    // A school bus, which is one of the server's classes.
    assert_eq!(answers[0]["top"][0]["label"], "school bus");
    assert_eq!(answers[0], answers[1]);
}
