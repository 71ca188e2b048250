//! Classification requests in all formats.

use crate::common::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Label, score and reason of an image according to the library.
fn expected(image: &[u8]) -> (Value, f64, String) {
    let detection = detector().detect_bytes(image).unwrap();
    (json!(detection.label), detection.score, detection.reason)
}

/// Checks that a result agrees with the library.
#[track_caller]
fn assert_matches_library(result: &Value, image: &[u8]) {
    let (label, score, reason) = expected(image);
    assert_eq!(result["label"], label, "{result}");
    assert_eq!(result["unknown"], json!(label.is_null()));
    assert!(
        (result["score"].as_f64().unwrap() - score).abs() < 1e-5,
        "{result}, {score}"
    );
    assert!(
        result["threshold"].is_f64() && result["p_value"].is_null(),
        "{result}"
    );
    assert_eq!(
        result["reason"].as_str().unwrap().is_empty(),
        reason.is_empty()
    );
    assert!(result.get("error").is_none(), "{result}");
}

#[test]
fn single_image_matches_the_library() {
    let server = start(settings(), detector());
    for content_type in [
        "image/bmp",
        "application/octet-stream",
        "IMAGE/JPEG; charset=x",
    ] {
        let response = server.post("/v1/classify", content_type, &image(1));
        let results = response.results();
        assert_eq!(results.len(), 1);
        assert_matches_library(&results[0], &image(1));
        assert_eq!(
            (&results[0]["index"], &results[0]["id"]),
            (&json!(0), &Value::Null)
        );
        let top = results[0]["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert!(top[0]["p"].as_f64() >= top[1]["p"].as_f64());
        assert!(results[0]["no"]["share"].is_f64());
        assert_eq!(response.json()["model"], "clipn-mini");
    }
    let untyped = server
        .request("POST", "/v1/classify?top=1", &[], &image(1))
        .results();
    assert_eq!(untyped[0]["top"].as_array().unwrap().len(), 1);
}

#[test]
fn results_are_in_request_order() {
    let server = start(settings(), detector());
    let files: Vec<Vec<u8>> = (0..20).map(image).collect();
    let names: Vec<String> = (0..20).map(|i| format!("image {i}.bmp")).collect();
    let parts: Vec<_> = files
        .iter()
        .zip(&names)
        .map(|(p, name)| ("file", Some(name.as_str()), &p[..]))
        .collect();
    let (content_type, body) = form(&parts);
    let results = server.post("/v1/classify", &content_type, &body).results();
    assert_eq!(results.len(), 20);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(
            (&result["index"], &result["id"]),
            (&json!(index), &json!(names[index]))
        );
        assert_matches_library(result, &files[index]);
    }
    let images: Vec<Value> = files
        .iter()
        .enumerate()
        .map(|(i, p)| json!({ "id": format!("#{i}"), "base64": base64(p) }))
        .collect();
    let results = server
        .classify_json(&json!({ "images": images, "top": 2 }))
        .results();
    assert_eq!(results.len(), 20);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["id"], json!(format!("#{index}")));
        assert_eq!(result["top"].as_array().unwrap().len(), 2);
        assert_matches_library(result, &files[index]);
    }
}

#[test]
fn invalid_images_fail_individually() {
    let server = start(settings(), detector());
    let good = image(3);
    let half = &good[..good.len() / 2];
    let parts: [(&str, Option<&str>, &[u8]); 6] = [
        ("file", Some("good.bmp"), &good),
        ("file", Some("empty.bmp"), b""),
        ("file", Some("text.bmp"), b"not an image"),
        ("file", Some("half.bmp"), half),
        ("top", None, b"1"),
        ("file", Some("last.bmp"), &good),
    ];
    let (content_type, body) = form(&parts);
    let results = server.post("/v1/classify", &content_type, &body).results();
    let codes: Vec<&str> = results
        .iter()
        .map(|r| r["error"]["code"].as_str().unwrap_or("fine"))
        .collect();
    assert_eq!(
        codes,
        [
            "fine",
            "empty_image",
            "not_an_image",
            "truncated_image",
            "fine"
        ]
    );
    assert_matches_library(&results[0], &good);
    assert_matches_library(&results[4], &good);
    let images = json!([{ "base64": "!!" }, { "base64": base64(&good) }]);
    let results = server.classify_json(&json!({ "images": images })).results();
    assert_eq!(results[0]["error"]["code"], "bad_base64");
    assert_matches_library(&results[1], &good);
    // If all images are invalid, each still gets a result.
    let results = server
        .classify_json(&json!({ "images": [{ "base64": "" }, { "base64": "aGk=" }] }))
        .results();
    assert!(
        results
            .iter()
            .all(|result| result["error"]["message"].is_string() && result.get("label").is_none())
    );
    assert_eq!(
        server.metric("clipn_images_total{bundle=\"default\",outcome=\"error\"}"),
        6.0
    );
}

#[test]
fn single_invalid_image_is_an_error_response() {
    let server = start(settings(), detector());
    let good = image(3);
    assert_eq!(server.classify(b"").error(400), "empty_image");
    assert_eq!(
        server.classify(b"%PDF-1.7 and so on").error(415),
        "not_an_image"
    );
    assert_eq!(
        server.classify(&good[..good.len() / 2]).error(422),
        "truncated_image"
    );
    assert_eq!(
        server
            .classify_json(&json!({ "images": [{ "base64": "?" }] }))
            .error(400),
        "bad_base64"
    );
    let errors = || server.metric("clipn_errors_total{code=\"not_an_image\"}");
    assert_eq!(errors(), 1.0);
    let two = json!({ "images": [{ "base64": "JVBERi0xLjc=" }, { "base64": "JVBERi0xLjc=" }] });
    assert_eq!(server.classify_json(&two).status, 200);
    assert_eq!(errors(), 3.0);
}

#[test]
fn rejects_malformed_requests() {
    let server = start(settings(), detector());
    let json = |text: &str| server.post("/v1/classify", "application/json", text.as_bytes());
    assert_eq!(json("{").error(400), "bad_request");
    assert_eq!(json(r#"{"images": []}"#).error(400), "no_images");
    assert_eq!(
        json(r#"{"images": [], "tops": 1}"#).error(400),
        "bad_request"
    );
    assert_eq!(
        server
            .post("/v1/classify", "text/plain", b"hello")
            .error(415),
        "unsupported_media_type"
    );
    for (field, expected) in [
        (r#"{"images": [], "top": "3"}"#, "expected a whole number"),
        (r#"{"images": [], "classes": "a, b"}"#, "expected a list"),
    ] {
        let message = json(field).text();
        assert!(message.contains(expected), "{message}");
    }
    for (path, encoding, status) in [
        ("/v1/classify", "gzip", 415),
        ("/v1/classes", "br", 415),
        ("/v1/classify", "identity", 400),
    ] {
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", encoding),
        ];
        let response = server.request("POST", path, &headers, b"{}");
        assert_eq!(response.status, status, "{}", response.text());
        assert_eq!(response.text().contains("content encoding"), status == 415);
    }
    let from_curl = server.post(
        "/v1/classify",
        "application/x-www-form-urlencoded",
        b"hello",
    );
    assert_eq!(from_curl.error(415), "unsupported_media_type");
    assert!(from_curl.text().contains("--data-binary"));
    for content_type in ["multipart/form-data", "multipart/form-data; boundary=other"] {
        assert_eq!(
            server
                .post("/v1/classify", content_type, &form(&[]).1)
                .error(400),
            "bad_request"
        );
    }
    let one = image(1);
    let file = ("file", None, &one[..]);
    for (parts, message) in [
        (&[("top", None, &b"many"[..]), file][..], "invalid `top`"),
        (
            &[("tops", None, b"2"), file],
            "unknown field `tops`: expected top, explain, classes or a file",
        ),
        (
            &[("top", None, b"2"), file, ("top", None, b"3")],
            "duplicate field `top`",
        ),
    ] {
        let (content_type, body) = form(parts);
        let response = server.post("/v1/classify", &content_type, &body);
        assert_eq!(response.error(400), "bad_request");
        assert!(response.text().contains(message), "{}", response.text());
    }
    // As a value, and from a file.
    for name in [None, Some("names.txt")] {
        let (content_type, body) = form(&[("classes", name, b"red,, blue"), file]);
        let response = server.post("/v1/classify", &content_type, &body);
        assert_eq!(response.error(422), "bad_classes");
        assert!(
            response.text().contains("class 2 has an empty name"),
            "{}",
            response.text()
        );
    }
    for query in ["top=0", "top=1001", "top=x", "tops=1"] {
        let response = server.post(&format!("/v1/classify?{query}"), "image/bmp", &image(1));
        assert_eq!(response.error(400), "bad_request", "{query}");
    }
    assert_eq!(server.get("/nowhere").error(404), "not_found");
    assert_eq!(server.get("/v1/classify").error(405), "method_not_allowed");
    assert_eq!(
        server.post("/health", "text/plain", b"").error(405),
        "method_not_allowed"
    );
}

#[test]
fn accepts_custom_classes() {
    let server = start(settings(), detector());
    let post = |classes: Value| {
        server.classify_json(
            &json!({ "images": [{ "base64": base64(&image(1)) }], "classes": classes }),
        )
    };
    let results = post(json!(["pizza", " a red \u{3c}img onerror=x\u{3e} "])).results();
    let mut labels: Vec<&str> = results[0]["top"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["label"].as_str().unwrap())
        .collect();
    labels.sort_unstable();
    assert_eq!(labels, ["a red <img onerror=x>", "pizza"]);
    let (content_type, body) =
        form(&[("classes", None, b"apple, pear"), ("file", None, &image(1))]);
    let results = server.post("/v1/classify", &content_type, &body).results();
    assert_eq!(results[0]["top"].as_array().unwrap().len(), 2);
    let query = server
        .post(
            "/v1/classify?classes=apple,pear,plum",
            "image/bmp",
            &image(1),
        )
        .results();
    assert_eq!(query[0]["top"].as_array().unwrap().len(), 3);

    // The order of the server's own classes does not change the decision.
    let reversed: Vec<&str> = CLASSES.into_iter().rev().collect();
    let results = post(json!(reversed)).results();
    assert_matches_library(&results[0], &image(1));

    let long = "x".repeat(101);
    let many: Vec<String> = (0..101).map(|i| format!("class {i}")).collect();
    for bad in [
        json!([]),
        json!([""]),
        json!(["a", "a "]),
        json!(["a\nb"]),
        json!([long]),
        json!(many),
    ] {
        assert_eq!(post(bad.clone()).error(422), "bad_classes", "{bad}");
    }
    assert_eq!(post(json!("apple")).error(400), "bad_request");
}

#[test]
fn encodes_custom_classes_in_advance() {
    let server = start(settings(), detector());
    let post = |json: Value| {
        server.post(
            "/v1/classes",
            "application/json",
            json.to_string().as_bytes(),
        )
    };
    let response = post(json!({ "classes": ["pizza", "zeppelin"] }));
    let json = response.json();
    assert_eq!(response.status, 200, "{json}");
    assert_eq!(
        json["classes"][0],
        json!({ "name": "pizza", "unseen_words": [] })
    );
    assert_eq!(
        json["classes"][1],
        json!({ "name": "zeppelin", "unseen_words": ["zeppelin"] })
    );
    assert_eq!(
        json["rule"],
        json!({ "kind": "published", "score": "atd", "threshold": null, "calibrated": false })
    );
    assert_eq!(post(json!({ "classes": [] })).error(422), "bad_classes");
    assert_eq!(
        post(json!({ "names": ["pizza"] })).error(400),
        "bad_request"
    );
    let classified = |classes: &str| {
        let path = format!("/v1/classify?classes={classes}");
        server.post(&path, "image/bmp", &image(1)).json()
    };
    assert_eq!(
        classified("pizza,zeppelin")["unseen_words"],
        json!({ "zeppelin": ["zeppelin"] })
    );
    assert_eq!(classified("pizza").get("unseen_words"), None);
    // The server's own classes have not changed.
    assert_eq!(server.get("/v1/info").json()["classes"], json!(CLASSES));
}

#[test]
fn rejects_custom_classes_without_text_towers() {
    let server = start_with(settings(), detector(), None);
    assert_eq!(
        server.get("/v1/info").json()["editable_classes"],
        json!(false)
    );
    let few = server
        .post(
            "/v1/classify?classes=pizza,goldfish",
            "image/bmp",
            &image(1),
        )
        .results();
    assert_eq!(few[0]["top"].as_array().unwrap().len(), 2);
    let other = server.post("/v1/classify?classes=pizza,unicorn", "image/bmp", &image(1));
    assert_eq!(other.error(422), "classes_fixed");
    assert!(other.text().contains("unicorn"));
}

#[test]
fn explain_adds_maps_to_the_results() {
    let server = start(settings(), detector());
    let plain = server.post("/v1/classify", "image/bmp", &image(1));
    assert!(plain.results()[0].get("evidence").is_none());
    let body = json!({ "images": [{ "base64": base64(&image(1)) }], "explain": true }).to_string();
    for (path, content_type, body) in [
        ("/v1/classify?explain=true", "image/bmp", image(1)),
        ("/v1/classify", "application/json", body.into_bytes()),
    ] {
        let response = server.post(path, content_type, &body);
        let result = &response.results()[0];
        let evidence = &result["evidence"];
        let patches = evidence["rows"].as_u64().unwrap() * evidence["columns"].as_u64().unwrap();
        for map in ["yes", "no"] {
            assert_eq!(
                evidence[map].as_array().unwrap().len() as u64,
                patches,
                "{map}"
            );
        }
        assert_eq!(evidence["class"], result["top"][0]["class"]);
        assert_eq!(result["score"], plain.results()[0]["score"]);
    }
    assert_eq!(server.get("/v1/info").json()["explains"], json!(true));
    let response = server.post("/v1/classify?explain=maybe", "image/bmp", &image(1));
    assert_eq!(response.status, 400);
}

#[test]
fn a_tower_without_local_features_does_not_explain() {
    let server = start(settings(), detector_with(TestTower::new(|_, _| {})));
    assert_eq!(server.get("/v1/info").json()["explains"], json!(false));
    let response = server.post("/v1/classify?explain=true", "image/bmp", &image(1));
    assert_eq!(response.status, 422);
    assert_eq!(response.json()["error"]["code"], "no_evidence");
    assert_eq!(
        server.post("/v1/classify", "image/bmp", &image(1)).status,
        200
    );
}

#[test]
fn info_says_where_the_rule_comes_from() {
    use clipn::scores::{Atd, DecisionRule};
    let rules = [
        (DecisionRule::AtdExtraClass, "published"),
        (
            DecisionRule::Threshold {
                score: &Atd,
                threshold: 0.25,
            },
            "threshold",
        ),
        (DecisionRule::AcceptAll { score: &Atd }, "accept-all"),
    ];
    for (rule, kind) in rules {
        let server = start(settings(), detector().with_rule(rule).unwrap());
        let info = server.get("/v1/info").json();
        assert_eq!(info["rule"]["kind"], kind, "{info}");
    }
}
