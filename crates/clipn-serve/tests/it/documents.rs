//! OpenAPI document, web pages, metrics and status routes.

use std::collections::BTreeSet;

use crate::common::*;
use clipn_serve::{openapi, routes};
use serde_json::{Value, json};

/// Collects every `$ref` in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(String::from));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn openapi_lists_exactly_the_routes() {
    let server = start(settings(), detector());
    let response = server.get("/openapi.json");
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/json"))
    );
    let document = response.json();
    assert_eq!(document, serde_json::from_str::<Value>(openapi()).unwrap());
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3."),
        "{}",
        document["openapi"]
    );
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|m| (m.to_uppercase(), path.clone()))
        })
        .collect();
    let existing: BTreeSet<(String, String)> = routes()
        .map(|(m, path)| (m.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(documented, existing);
    for (method, path) in routes() {
        let status = server
            .request(
                method,
                &path.replace("{name}", "default"),
                &[("content-type", "application/json")],
                b"{}",
            )
            .status;
        assert!(![404, 405].contains(&status), "{method} {path} is {status}");
        let responses = &document["paths"][path][method.to_lowercase()]["responses"];
        assert!(
            responses.get(status.to_string()).is_some(),
            "{method} {path} does not document status {status}"
        );
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 5, "{found:?}");
    for reference in found {
        assert!(
            document
                .pointer(reference.trim_start_matches('#'))
                .is_some(),
            "dangling reference {reference}"
        );
    }
}

/// Validates a value against a schema: required properties exist, and no property is undocumented.
fn check(document: &Value, schema: &Value, value: &Value, path: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(
            document,
            document.pointer(&reference[1..]).unwrap(),
            value,
            path,
        );
    }
    if let Some(items) = schema.get("items") {
        value
            .as_array()
            .unwrap_or_else(|| panic!("{path} is not an array"))
            .iter()
            .for_each(|item| check(document, items, item, path));
    }
    let Some(object) = value.as_object() else {
        return;
    };
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            object.contains_key(name.as_str().unwrap()),
            "{path} lacks {name}"
        );
    }
    for (name, value) in object {
        let property = properties
            .get(name)
            .unwrap_or_else(|| panic!("{path}.{name} is not documented"));
        check(document, property, value, &format!("{path}.{name}"));
    }
}

#[test]
fn responses_match_the_openapi_schemas() {
    let server = start(settings(), detector());
    let document: Value = serde_json::from_str(openapi()).unwrap();
    for (path, schema) in [
        ("/v1/info", "Info"),
        ("/v1/bundles", "BundleList"),
        ("/v1/bundles/default/info", "Info"),
        ("/health", "Health"),
        ("/ready", "Ready"),
        ("/nowhere", "ErrorResponse"),
    ] {
        check(
            &document,
            &document["components"]["schemas"][schema],
            &server.get(path).json(),
            path,
        );
    }
    let classified = server.classify(&image(1)).json();
    let schemas = &document["components"]["schemas"];
    assert!(schemas["ClassifyResponse"]["properties"]["results"].is_object());
    let decision = schemas["Decision"]["properties"].as_object().unwrap();
    for name in classified["results"][0].as_object().unwrap().keys() {
        assert!(
            decision.contains_key(name) || ["index", "id"].contains(&name.as_str()),
            "{name} is not documented"
        );
    }
    let classes = server
        .post(
            "/v1/classes",
            "application/json",
            b"{\"classes\": [\"pizza\"]}",
        )
        .json();
    check(&document, &schemas["ClassesResponse"], &classes, "classes");
}

/// The keys of a value at all depths, with `[]` for the items of a list.
fn key_paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.insert(format!("{path}.{key}"));
            key_paths(value, &format!("{path}.{key}"), found);
        }),
        Value::Array(list) => {
            let path = format!("{path}[]");
            list.iter().for_each(|value| key_paths(value, &path, found));
        }
        _ => {}
    }
}

#[test]
fn examples_of_the_document_have_the_form_of_answers() {
    let server = start(settings(), detector());
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let example = |method: &str, path: &str, status: &str| {
        let operation = &document["paths"][path][method];
        operation["responses"][status]["content"]["application/json"]["example"].clone()
    };
    let request = |path: &str| {
        let operation = &document["paths"][path]["post"];
        operation["requestBody"]["content"]["application/json"]["example"].clone()
    };
    let keys = |value: &Value| {
        let mut found = BTreeSet::new();
        key_paths(value, "", &mut found);
        found
    };
    for path in ["/v1/bundles", "/v1/info", "/health", "/ready"] {
        assert_eq!(
            keys(&example("get", path, "200")),
            keys(&server.get(path).json()),
            "{path}"
        );
    }
    let classified = server.classify(&image(1)).json();
    assert_eq!(
        keys(&example("post", "/v1/classify", "200")),
        keys(&classified)
    );
    let classes = server.post(
        "/v1/classes",
        "application/json",
        request("/v1/classes").to_string().as_bytes(),
    );
    assert_eq!(
        keys(&example("post", "/v1/classes", "200")),
        keys(&classes.json())
    );
    // The request is accepted as far as its cut images go.
    let answer = server.classify_json(&request("/v1/classify"));
    let codes: Vec<Value> = answer
        .results()
        .iter()
        .map(|result| result["error"]["code"].clone())
        .collect();
    assert_eq!(codes, ["bad_base64", "bad_base64"]);
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let is_json = |content: &Value| content.get("application/json").is_some();
            for (status, response) in operation["responses"].as_object().unwrap() {
                let content = &response["content"];
                let has_example = !content["application/json"]["example"].is_null();
                let is_documented = status == "200" && path != "/openapi.json";
                assert!(
                    has_example || !is_documented || !is_json(content),
                    "{path} lacks an example of {status}"
                );
            }
        }
    }
}

/// Runs every code sample of the document on a server.
#[test]
fn code_samples_run() {
    let server = start(settings(), detector());
    let directory = tempfile::tempdir().unwrap();
    for (name, seed) in [("photo.jpg", 1), ("other.jpg", 9)] {
        std::fs::write(directory.path().join(name), image(seed)).unwrap();
    }
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let (mut count, mut skipped) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            for sample in operation["x-codeSamples"].as_array().into_iter().flatten() {
                let source = sample["source"].as_str().unwrap();
                let source = source
                    .replace("127.0.0.1:8080", &server.address.to_string())
                    .replace("/bundles/shop/", "/bundles/default/");
                let (program, arguments) = match sample["lang"].as_str().unwrap() {
                    "Shell" => (
                        "sh",
                        vec![
                            "-c".to_owned(),
                            source.replace("curl ", "curl -sSf --noproxy '*' "),
                        ],
                    ),
                    _ => ("python3", vec!["-c".to_owned(), source.clone()]),
                };
                let needed = if program == "sh" { "curl" } else { program };
                if std::process::Command::new(needed)
                    .arg("--version")
                    .output()
                    .is_err()
                {
                    eprintln!("skipped: {needed} is not installed");
                    skipped += 1;
                    continue;
                }
                let output = std::process::Command::new(program)
                    .args(&arguments)
                    .current_dir(directory.path())
                    .env("KEY", "0123456789abcdef")
                    .env("no_proxy", "*")
                    .output()
                    .unwrap();
                assert!(
                    output.status.success() && !output.stdout.is_empty(),
                    "{path}: {source}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                count += 1;
            }
        }
    }
    assert!(count + skipped >= 6, "{count} samples, {skipped} skipped");
}

#[test]
fn status_routes_describe_the_server() {
    let server = start(settings(), detector());
    let info = server.get("/v1/info").json();
    assert_eq!(
        (&info["name"], &info["model"]),
        (&json!("clipn"), &json!("clipn-mini"))
    );
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&info["classes"], &info["editable_classes"]),
        (&json!(CLASSES), &json!(true))
    );
    assert_eq!(
        (&info["calibration"], &info["rule"]["score"]),
        (&Value::Null, &json!("atd"))
    );
    let health = server.get("/health").json();
    assert_eq!(
        (
            &health["status"],
            health["workers"].as_array().unwrap().len()
        ),
        (&json!("ok"), 2)
    );
    assert_eq!(
        server.get("/ready").json(),
        json!({ "ready": true, "reason": null })
    );
    assert_eq!(server.request("HEAD", "/health", &[], b"").status, 200);
}

#[test]
fn content_security_policy_allows_only_own_script_and_style() {
    let server = start(settings(), detector());
    for path in ["/", "/docs"] {
        let page = server.get(path);
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        let policy = page.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'sha256-",
            "style-src 'sha256-",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn requests_have_ids() {
    let server = start(settings(), detector());
    let named = server.request("GET", "/health", &[("x-request-id", "mine_1.a-b")], b"");
    assert_eq!(named.header("x-request-id"), Some("mine_1.a-b"));
    for invalid in ["a b", "<script>", "", &"x".repeat(65)] {
        let other = server.request("GET", "/health", &[("x-request-id", invalid)], b"");
        assert!(
            ![None, Some(invalid)].contains(&other.header("x-request-id")),
            "{invalid}"
        );
    }
}

#[test]
fn metrics_are_valid_openmetrics() {
    let server = start(settings(), detector());
    server.classify(&image(1)).results();
    server.classify(b"nothing").error(415);
    for path in ["/a", "/b", "/c"] {
        server.get(path).error(404);
    }
    let response = server.get("/metrics");
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = response.text();
    assert!(text.ends_with("# EOF\n"));
    let mut types = std::collections::BTreeMap::new();
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(declaration) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declaration.split_once(' ').unwrap();
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "duplicate metric {name}"
            );
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(name.to_owned()), "duplicate series {name}");
        let family = name.split('{').next().unwrap();
        let declared = types.keys().any(|known| {
            family.strip_prefix(known.as_str()).is_some_and(|rest| {
                ["", "_total", "_bucket", "_sum", "_count", "_info"].contains(&rest)
            })
        });
        assert!(declared, "{family} has no type");
    }
    let value = |name: &str| server.metric(name);
    assert_eq!(
        value("clipn_http_requests_total{method=\"POST\",route=\"/v1/classify\",status=\"200\"}"),
        1.0
    );
    assert_eq!(
        value("clipn_http_requests_total{method=\"POST\",route=\"/v1/classify\",status=\"415\"}"),
        1.0
    );
    assert_eq!(
        value("clipn_http_requests_total{method=\"GET\",route=\"other\",status=\"404\"}"),
        3.0
    );
    let decided = value("clipn_images_total{bundle=\"default\",outcome=\"label\"}")
        + value("clipn_images_total{bundle=\"default\",outcome=\"unknown\"}");
    assert_eq!(
        (
            decided,
            value("clipn_images_total{bundle=\"default\",outcome=\"error\"}")
        ),
        (1.0, 1.0)
    );
    assert_eq!(
        (
            value("clipn_score_count{bundle=\"default\"}"),
            value("clipn_batch_images_count")
        ),
        (1.0, 1.0)
    );
    assert!(value("process_start_time_seconds") > 1.6e9);
    if cfg!(target_os = "linux") {
        assert!(value("process_resident_memory_bytes") > 1e6);
    }
}
