//! Scores of patches, and where in an image something is seen.

use serde_json::Value;

use crate::common::{Sandbox, text};

const CLASSES: &str = "goldfish, school bus, pizza";

fn json_rows(s: &Sandbox, more: &[&str]) -> Vec<Value> {
    let command = [
        "classify",
        "--classes",
        CLASSES,
        "--format",
        "json",
        "photos",
    ];
    let stdout = s.done(&[&command[..], more].concat());
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    stdout.lines().map(parse).collect()
}

/// Builds the bundle `shop.clipn`.
fn build(s: &Sandbox) {
    let build = ["classifier", "build", "--classes", CLASSES];
    s.done(&[&build[..], &["--out", "shop.clipn"]].concat());
}

#[test]
fn gl_mcm_decides_and_is_evaluated_by_name_only() {
    let s = Sandbox::new();
    let plain = json_rows(&s, &["--score", "mcm", "--threshold", "0.3"]);
    let local = json_rows(&s, &["--score", "gl-mcm", "--threshold", "0.5"]);
    assert_eq!(plain.len(), local.len());
    for (plain, local) in plain.iter().zip(&local) {
        // MCM of three classes is at least a third, and so is that of the best patch.
        let (mcm, sum) = (
            plain["score"].as_f64().unwrap(),
            local["score"].as_f64().unwrap(),
        );
        assert!(sum - mcm > 0.5 / 3.0 && sum - mcm < 0.5, "{mcm} {sum}");
        assert_eq!(local["threshold"], 0.5);
        assert_eq!(plain["top"], local["top"]);
    }
    let eval = [
        "eval",
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--format",
        "json",
    ];
    let names = |more: &[&str]| -> Vec<String> {
        let results: Value = serde_json::from_str(&s.done(&[&eval[..], more].concat())).unwrap();
        let results = results["results"].as_array().unwrap().clone();
        let name = |result: &Value| result["score"].as_str().unwrap().to_owned();
        results.iter().map(name).collect()
    };
    assert_eq!(
        names(&["--scores", "mcm,l-mcm,gl-mcm"]),
        ["mcm", "l-mcm", "gl-mcm"]
    );
    assert!(!names(&[]).contains(&"gl-mcm".to_owned()));
}

#[test]
fn a_bundle_calibrated_on_patches_classifies_with_them() {
    let s = Sandbox::new();
    build(&s);
    s.done(&[
        "calibrate",
        "--bundle",
        "shop.clipn",
        "--id",
        "id",
        "--score",
        "gl-mcm",
        "--target-tpr",
        "0.8",
    ]);
    let stdout = s.done(&[
        "classify",
        "--bundle",
        "shop.clipn",
        "--format",
        "json",
        "photos",
    ]);
    for line in stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(
            row["reason"].as_str().unwrap().starts_with("GL-MCM"),
            "{row}"
        );
        assert!(row["p_value"].is_number(), "{row}");
    }
}

#[test]
fn features_in_files_have_no_patches() {
    let s = Sandbox::new();
    s.done(&["embed", "images", "photos", "--output", "photos.npy"]);
    build(&s);
    let arguments = [
        "classify",
        "--bundle",
        "shop.clipn",
        "--features",
        "photos.npy",
    ];
    let score = ["--score", "gl-mcm", "--threshold", "0.5"];
    let output = s.clipn(&[&arguments[..], &score].concat());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("the score `gl-mcm` needs local features of images, got none")
            && stderr.contains("score images on the CPU"),
        "{stderr}"
    );
}

#[test]
fn explain_says_where_a_class_is_seen() {
    let s = Sandbox::new();
    let explain = ["--negatives", "wordnet", "--explain"];
    let rows = json_rows(&s, &explain);
    let plain = json_rows(&s, &explain[..2]);
    assert!(!rows.is_empty());
    for (row, plain) in rows.iter().zip(&plain) {
        let evidence = &row["evidence"];
        let patches = evidence["rows"].as_u64().unwrap() * evidence["columns"].as_u64().unwrap();
        for map in ["yes", "no", "negatives"] {
            let values = evidence[map].as_array().unwrap();
            assert_eq!(values.len() as u64, patches, "{map}");
            let is_probability = |v: &Value| (0.0..=1.0).contains(&v.as_f64().unwrap());
            assert!(values.iter().all(is_probability), "{map}");
        }
        assert_eq!(evidence["label"], row["top"][0]["label"]);
        let reason = row["reason"].as_str().unwrap();
        assert!(reason.contains("is strongest "), "{reason}");
        // The decision is the same without the maps.
        assert_eq!(row["score"], plain["score"]);
        assert!(plain.get("evidence").is_none());
        assert!(
            reason.starts_with(plain["reason"].as_str().unwrap()),
            "{reason}"
        );
    }
}

#[test]
fn a_cache_stores_an_image_once_though_its_patches_are_computed_again() {
    let s = Sandbox::new();
    let eval = [
        "eval",
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--scores",
        "mcm,l-mcm",
        "--feature-cache",
        "cache",
    ];
    let size = || -> u64 {
        s.done(&eval);
        let entries = |directory: std::path::PathBuf| {
            let entries = std::fs::read_dir(directory).unwrap();
            entries.map(|entry| entry.unwrap().path())
        };
        let files = entries(s.path("cache")).flat_map(entries);
        files.map(|path| path.metadata().unwrap().len()).sum()
    };
    let first = size();
    assert!(first > 1000);
    assert_eq!(size(), first);
}

#[test]
fn a_report_draws_maps_over_its_examples() {
    let s = Sandbox::new();
    let eval = [
        "eval",
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--output",
        "results",
    ];
    s.done(&[&eval[..], &["--explain"]].concat());
    let report = std::fs::read_to_string(s.path("results/report.html")).unwrap();
    let figures = report.matches("<div class=\"frame\">").count();
    // A map of the class and one of its "no".
    assert_eq!(report.matches("<svg class=\"map yes\"").count(), figures);
    assert_eq!(report.matches("<svg class=\"map no\"").count(), figures);
    s.done(&[&eval[..], &["--force"]].concat());
    let report = std::fs::read_to_string(s.path("results/report.html")).unwrap();
    assert!(!report.contains("<svg class=\"map"));
}
