//! `clipn classify`.

use crate::common::{Sandbox, text, with_model};
use serde_json::Value;

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("classify", &[&["--classes", "classes.txt"], more].concat())
}

#[test]
fn prints_one_row_per_image_with_three_top_classes() {
    let sandbox = Sandbox::new();
    let out = sandbox.done(&classify(&["--format", "json", "photos", "noise/0.bmp"]));
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let paths: Vec<&str> = rows
        .iter()
        .map(|row| row["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        ["photos/gradient.bmp", "photos/red.bmp", "noise/0.bmp"]
    );
    for row in &rows {
        let top = row["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        let total: f64 = top.iter().map(|c| c["p"].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{row}");
        let kept = row["score"].as_f64() >= row["threshold"].as_f64();
        let label = if kept {
            top[0]["label"].clone()
        } else {
            Value::Null
        };
        assert_eq!(row["label"], label, "{row}");
        assert_eq!(row["unknown"], !kept, "{row}");
    }
}

#[test]
fn extreme_thresholds_reject_all_or_none() {
    let sandbox = Sandbox::new();
    let labels = |threshold: &str| {
        let out = sandbox.done(&classify(&[
            "--score",
            "maxlogit",
            "--threshold",
            threshold,
            "--format",
            "csv",
            "photos",
            "noise",
        ]));
        out.lines()
            .skip(1)
            .map(|line| line.split(',').nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(labels("1000"), vec!["unknown"; 7]);
    assert!(
        labels("-1000")
            .iter()
            .all(|label| crate::common::CLASSES.contains(&label.as_str()))
    );
    let warned = |score: &str, threshold: &str| {
        let rule = ["--score", score, "--threshold", threshold, "noise"];
        let output = sandbox.clipn(&classify(&rule));
        text(&output.stderr).contains("is from 0 to 1, so that no image reaches it")
    };
    assert!(warned("atd", "5") && !warned("atd", "0.5") && !warned("maxlogit", "1000"));
}

#[test]
fn ctw_rejects_if_no_exceeds_yes_for_the_top_class() {
    let sandbox = Sandbox::new();
    let out = sandbox.done(&classify(&[
        "--score", "ctw", "--format", "json", "photos", "noise", "id",
    ]));
    for line in out.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let q = row["top"][0]["q"].as_f64().unwrap();
        assert!((row["score"].as_f64().unwrap() - q).abs() < 1e-6);
        assert_eq!(row["unknown"], q < 0.5, "{row}");
    }
}

#[test]
fn an_unreadable_image_becomes_a_row_with_its_error() {
    let sandbox = Sandbox::new();
    sandbox.write("photos/a.jpg", "this is text");
    let arguments = classify(&["photos", "photos/gone.png"]);
    let output = sandbox.clipn(&arguments);
    assert_eq!(output.status.code(), Some(0));
    let out = text(&output.stdout);
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(
        out.lines()
            .next()
            .unwrap()
            .starts_with("photos/a.jpg: error: "),
        "{out}"
    );
    assert!(
        out.lines()
            .last()
            .unwrap()
            .starts_with("photos/gone.png: error: "),
        "{out}"
    );
    assert!(text(&output.stderr).contains("2 of 4 images could not be classified"));

    let strict = sandbox.clipn(&[&arguments[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stderr).contains("photos/a.jpg"));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let sandbox = Sandbox::new();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("clipn"))
        .current_dir(sandbox.root())
        .args(classify(&["id", "noise", "stripes", "photos"]))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_run_and_reports_its_progress() {
    use std::io::{BufRead, BufReader};

    let sandbox = Sandbox::new();
    for copy in 0..3000 {
        sandbox.image(&format!("many/{copy}.bmp"), 300, 300, |x, y| {
            [x as u8, y as u8, copy as u8]
        });
    }
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("clipn"))
        .current_dir(sandbox.root())
        .args(classify(&["many", "--batch-size", "4"]))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let id = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let rest = lines.count();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        text(&output.stderr).trim(),
        format!("error: interrupted after {} of 3000 images", rest + 1)
    );
}

#[test]
fn weights_with_config_need_no_model_flag() {
    let sandbox = Sandbox::new();
    sandbox.write_other_formats();
    let rows = |model: &[&str]| {
        let more = [
            "--classes",
            "classes.txt",
            "--templates",
            "simple",
            "--format",
            "csv",
            "photos",
        ];
        let arguments = [&["classify"], model, &more[..]].concat();
        sandbox.done(&arguments)
    };
    // The config of open_clip belongs to the file of that name, and to no other.
    let file = "clip-open-clip/open_clip_model.safetensors";
    std::fs::copy(
        sandbox.path(file),
        sandbox.path("clip-open-clip/plain.safetensors"),
    )
    .unwrap();
    let plain = rows(&[
        "--model",
        "tiny.json",
        "--pretrained",
        "clip-open-clip/plain.safetensors",
    ]);
    let hub = rows(&["--pretrained", "clip-open-clip"]);
    assert_eq!(rows(&["--pretrained", file]), hub);
    assert_eq!(rows(&["--pretrained", "clip-transformers"]), plain);
    assert_eq!(
        rows(&["--pretrained", "clip-transformers", "--model", "tiny.json"]),
        plain
    );
    assert_ne!(hub, plain, "its preprocessing differs");
    let trained = rows(&["--model", "tiny.json", "--pretrained", "epoch_10.pt"]);
    assert_ne!(trained, plain);
    assert_eq!(
        rows(&["--pretrained", "logs/tiny/checkpoints/epoch-10"]),
        trained
    );
}
