//! Examples of requests and responses in the OpenAPI document.

use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, OpenApi, RefOr};

/// Adds example requests in curl and Python as `x-codeSamples`, which tools for OpenAPI show, and
/// examples of the JSON bodies.
pub(super) struct Examples;

impl Modify for Examples {
    fn modify(&self, document: &mut OpenApi) {
        let paths = &mut document.paths.paths;
        let mut add = |path: &str, samples: &[Sample], request: Option<Value>, response: Value| {
            let item = paths.get_mut(path);
            let operation = item.and_then(|item| item.post.as_mut().or(item.get.as_mut()));
            if let Some(operation) = operation {
                add_examples(operation, samples, request, response);
            }
        };
        add(
            "/v1/classify",
            &CLASSIFY,
            Some(classify_request()),
            classify_response(),
        );
        add(
            "/v1/bundles/{name}/classify",
            &CLASSIFY_WITH_BUNDLE,
            Some(classify_request()),
            classify_response(),
        );
        let classes = json!({ "classes": ["school bus", "zeppelin"] });
        add(
            "/v1/classes",
            &CLASSES,
            Some(classes.clone()),
            classes_response(),
        );
        add(
            "/v1/bundles/{name}/classes",
            &[],
            Some(classes),
            classes_response(),
        );
        add("/v1/bundles", &BUNDLES, None, bundles_response());
        add("/v1/info", &INFO, None, info_response());
        add("/v1/bundles/{name}/info", &[], None, info_response());
        let health = json!({
            "status": "ok", "problems": [], "pictures": 1, "oldest_ms": 0,
            "workers": [{ "state": "busy", "busy_ms": 7, "restarts": 0 }],
        });
        add("/health", &[], None, health);
        add(
            "/ready",
            &[],
            None,
            json!({ "ready": true, "reason": null }),
        );
    }
}

/// A request in a language, for a server on this machine.
struct Sample {
    language: &'static str,
    label: &'static str,
    source: &'static str,
}

const CLASSIFY: [Sample; 4] = [
    Sample {
        language: "Shell",
        label: "curl: one image",
        source: r#"curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" http://127.0.0.1:8080/v1/classify"#,
    },
    Sample {
        language: "Shell",
        label: "curl: several images, own classes, API key",
        source: r#"curl -H "Authorization: Bearer $KEY" -F file=@photo.jpg -F file=@other.jpg -F "classes=red, blue" \
  -F top=2 http://127.0.0.1:8080/v1/classify"#,
    },
    Sample {
        language: "Python",
        label: "Python: one image",
        source: r#"import json, urllib.request

with open("photo.jpg", "rb") as file:
    body = file.read()
url = "http://127.0.0.1:8080/v1/classify"
request = urllib.request.Request(url, body, {"Content-Type": "image/jpeg"})
with urllib.request.urlopen(request, timeout=30) as response:
    result = json.load(response)["results"][0]
print("unknown" if result["unknown"] else result["label"])
print(result["reason"])"#,
    },
    Sample {
        language: "Python",
        label: "Python: several images in JSON, with errors",
        source: r#"import base64, json, urllib.error, urllib.request

def image(path):
    with open(path, "rb") as file:
        return {"id": path, "base64": base64.b64encode(file.read()).decode()}

body = {"images": [image("photo.jpg"), image("other.jpg")], "classes": ["red", "blue"], "top": 2}
url = "http://127.0.0.1:8080/v1/classify"
headers = {"Content-Type": "application/json"}  # "X-API-Key": KEY
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
try:
    with urllib.request.urlopen(request, timeout=30) as response:
        results = json.load(response)["results"]
except urllib.error.HTTPError as failed:
    raise SystemExit(json.load(failed)["error"]["message"])
for result in results:
    print(result["id"], result.get("error") or result["label"] or "unknown")"#,
    },
];

const CLASSIFY_WITH_BUNDLE: [Sample; 1] = [Sample {
    language: "Shell",
    label: "curl: one image",
    source: r#"curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" \
  http://127.0.0.1:8080/v1/bundles/shop/classify"#,
}];

const CLASSES: [Sample; 1] = [Sample {
    language: "Shell",
    label: "curl",
    source: r#"curl -H "Content-Type: application/json" -d '{"classes": ["school bus", "zeppelin"]}' \
  http://127.0.0.1:8080/v1/classes"#,
}];

const BUNDLES: [Sample; 1] = [Sample {
    language: "Shell",
    label: "curl",
    source: "curl http://127.0.0.1:8080/v1/bundles",
}];

const INFO: [Sample; 1] = [Sample {
    language: "Shell",
    label: "curl",
    source: "curl http://127.0.0.1:8080/v1/info",
}];

fn classify_request() -> Value {
    json!({
        "images": [{ "id": "a", "base64": "/9j/4AAQSkZJRgABAQ…" }, { "base64": "iVBORw0KGgo…" }],
        "top": 1,
        "classes": ["school bus", "goldfish"],
    })
}

fn classify_response() -> Value {
    let bus = json!({ "class": 0, "label": "school bus", "p": 0.9176, "q": 0.97 });
    let goldfish = json!({ "class": 1, "label": "goldfish", "p": 0.62, "q": 0.021 });
    let decision = |label: Value,
                    class: Value,
                    score: f64,
                    threshold: f64,
                    top: &Value,
                    share: f64| {
        let mut no = top.clone();
        no["share"] = json!(share);
        json!({
            "schema_version": 2, "label": label, "class": class, "unknown": label.is_null(), "score": score,
            "threshold": threshold, "p_value": null, "top": [top], "no": no, "negative": null,
        })
    };
    let mut known = decision(json!("school bus"), json!(0), 0.8901, 0.0297, &bus, 0.0275);
    known["index"] = json!(0);
    known["id"] = json!("a");
    known["reason"] = json!(
        "\"school bus\" (0.890) beats \"none of these\" (0.030): accepted by the published ATD rule"
    );
    let mut unknown = decision(Value::Null, Value::Null, 0.0168, 0.9835, &goldfish, 0.607);
    unknown["index"] = json!(1);
    unknown["id"] = Value::Null;
    unknown["reason"] = json!(
        "\"none of these\" (0.983) beats the best class (0.016): rejected by the published ATD rule"
    );
    json!({ "results": [known, unknown], "model": "ViT-B-16", "duration_ms": 24.7 })
}

fn rule() -> Value {
    json!({ "kind": "published", "score": "atd", "threshold": null, "calibrated": false })
}

fn classes_response() -> Value {
    json!({
        "classes": [
            { "name": "school bus", "unseen_words": [] },
            { "name": "zeppelin", "unseen_words": ["zeppelin"] },
        ],
        "rule": rule(),
        "duration_ms": 18.2,
    })
}

fn bundles_response() -> Value {
    let bundle = |name: &str, classes: usize, reloads: u64| {
        json!({
            "name": name, "model": "ViT-B-16", "classes": classes, "calibrated": name == "shop",
            "since": 1_750_000_000, "reloads": reloads,
            "stale": false,
        })
    };
    json!({ "bundles": [bundle("shop", 3, 0), bundle("cars", 12, 2)] })
}

fn info_response() -> Value {
    json!({
        "name": "clipn", "version": env!("CARGO_PKG_VERSION"), "bundle": "shop", "model": "ViT-B-16", "precision": "f32",
        "image_size": 224, "classes": ["goldfish", "school bus", "pizza"], "editable_classes": true,
        "has_no": true, "explains": true, "negatives": null, "rule": rule(), "calibration": null,
        "limits": {
            "request_bytes": 33_554_432, "images": 64, "pixels": 50_000_000, "classes": 100,
            "class_name_characters": 100, "deadline_ms": 10_000,
        },
    })
}

fn add_examples(
    operation: &mut Operation,
    samples: &[Sample],
    request: Option<Value>,
    response: Value,
) {
    if !samples.is_empty() {
        let samples: Vec<Value> = samples
            .iter()
            .map(|sample| {
                json!({ "lang": sample.language, "label": sample.label, "source": sample.source })
            })
            .collect();
        let samples = ExtensionsBuilder::new()
            .add("x-codeSamples", samples)
            .build();
        match &mut operation.extensions {
            Some(extensions) => extensions.merge(samples),
            none => *none = Some(samples),
        }
    }
    if let (Some(RefOr::T(body)), Some(request)) = (&mut operation.request_body, request) {
        set_example(body.content.get_mut("application/json"), request);
    }
    if let Some(RefOr::T(success)) = operation.responses.responses.get_mut("200") {
        set_example(success.content.get_mut("application/json"), response);
    }
    for (status, error) in &mut operation.responses.responses {
        let example = match status.as_str() {
            "400" => (
                "bad_request",
                "invalid JSON: missing field `images` at line 1 column 2; see /docs",
            ),
            "401" => (
                "unauthorized",
                "missing or invalid API key; send `Authorization: Bearer KEY` or `X-API-Key: KEY`",
            ),
            "404" => ("unknown_bundle", "unknown bundle `shops`; see /v1/bundles"),
            "429" => (
                "queue_full",
                "the queue is full (limit: 256 images); retry later",
            ),
            _ => continue,
        };
        if let RefOr::T(error) = error {
            let (code, message) = example;
            let body = json!({ "error": { "code": code, "message": message } });
            set_example(error.content.get_mut("application/json"), body);
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an optional mutable reference is passed on"
)]
fn set_example(content: Option<&mut RefOr<Content>>, example: Value) {
    if let Some(RefOr::T(content)) = content {
        content.example = Some(example);
    }
}
