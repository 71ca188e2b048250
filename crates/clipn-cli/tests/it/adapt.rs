//! `clipn classify --adapt`: decisions by a score that learns from the stream of images.

use serde_json::Value;

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{Sandbox, text, with_model};

const IMAGES: [&str; 3] = ["id", "noise", "photos"];

fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    s.write("words.txt", "gravel\nfog\na brick wall\nstatic noise\n");
    s
}

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let classifier = ["--classes", "classes.txt", "--negatives", "words.txt"];
    let score = ["--score", "neglabel"];
    with_model("classify", &[&classifier[..], &score, more].concat())
}

fn rows(s: &Sandbox, more: &[&str]) -> Vec<Value> {
    let format = ["--format", "json"];
    let output = s.clipn(&classify(&[more, &format, &IMAGES].concat()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn rows_have_both_decisions() {
    let s = sandbox();
    s.write("photos/broken.jpg", "no image");
    let fixed = rows(&s, &[]);
    for method in ["adaneg", "tanl"] {
        let adapted = rows(&s, &["--adapt", method, "--adapt-batch", "5"]);
        assert_eq!(adapted.len(), fixed.len());
        let mut scored = 0;
        for (row, fixed) in adapted.iter().zip(&fixed) {
            assert_eq!(row["path"], fixed["path"]);
            if !fixed["error"].is_null() {
                assert_eq!(row, fixed);
                continue;
            }
            scored += 1;
            let adaptation = &row["adaptation"];
            assert_eq!(adaptation["method"], method);
            for key in ["label", "unknown", "score", "threshold", "p_value"] {
                assert_eq!(
                    adaptation[format!("fixed_{key}")],
                    fixed[key],
                    "{key} {row}"
                );
            }
            assert_eq!(row["top"], fixed["top"]);
            let images = adaptation["images"].as_u64().unwrap();
            assert!(images >= scored && images < scored + 5, "{row}");
            let is_below = row["score"].as_f64().unwrap() < row["threshold"].as_f64().unwrap();
            assert_eq!(row["unknown"].as_bool(), Some(is_below), "{row}");
            assert_eq!(row["label"].is_null(), is_below, "{row}");
            let reason = row["reason"].as_str().unwrap();
            assert!(reason.contains("without memory"), "{reason}");
        }
        assert!(scored > 10, "{scored}");
    }
}

#[test]
fn a_threshold_of_ones_own_and_columns() {
    let s = sandbox();
    let adapt = ["--adapt", "adaneg", "--adapt-threshold", "1.05"];
    let output = s.clipn(&classify(
        &[&adapt[..], &["--format", "csv", "noise"]].concat(),
    ));
    let mut csv = csv::Reader::from_reader(&output.stdout[..]);
    let heading = csv.headers().unwrap().clone();
    let column = |name: &str| heading.iter().position(|h| h == name).unwrap();
    for record in csv.records().map(Result::unwrap) {
        assert_eq!(&record[column("adapted_by")], "adaneg");
        assert_eq!(&record[column("threshold")], "1.05");
        assert!(!record[column("fixed_label")].is_empty());
        let score: f64 = record[column("score")].parse().unwrap();
        assert_eq!(&record[column("label")] == "unknown", score < 1.05);
    }
    let table = s.done(&classify(&["--adapt", "adaneg", "noise"]));
    assert!(
        table.contains("(adaneg ") && table.contains("without memory "),
        "{table}"
    );
}

#[test]
fn a_memory_goes_on_in_the_next_run() {
    let s = sandbox();
    let adapt = ["--adapt", "adaneg", "--adapt-batch", "4"];
    let list = |name: &str, images: std::ops::Range<usize>| {
        let lines: String = images.map(|i| format!("noise/{}.bmp\n", i % 5)).collect();
        s.write(name, lines);
    };
    list("all.txt", 0..16);
    list("first.txt", 0..8);
    list("second.txt", 8..16);
    let run = |more: &[&str]| {
        s.done(&classify(
            &[&adapt[..], &["--format", "json"], more].concat(),
        ))
    };
    let whole = run(&["--list", "all.txt"]);
    let memory = ["--memory", "memory"];
    let first = run(&[&memory[..], &["--list", "first.txt"]].concat());
    let second = run(&[&memory[..], &["--list", "second.txt"]].concat());
    assert_eq!(first + &second, whole);
    // The file grows with every run, until it is reset.
    let messages = |more: &[&str]| {
        let list = ["--list", "first.txt"];
        let output = s.clipn(&classify(&[&adapt[..], &memory, more, &list].concat()));
        text(&output.stderr)
    };
    assert!(messages(&[]).contains("the memory of 16 images in memory"));
    assert!(messages(&[]).contains("the memory of 24 images in memory"));
    assert!(!messages(&["--reset-memory"]).contains("the memory of"));
    assert!(messages(&[]).contains("the memory of 8 images in memory"));
}

#[test]
fn features_are_decided_like_their_images() {
    let s = sandbox();
    let adapt = ["--adapt", "adaneg", "--adapt-batch", "3"];
    let model = ["--model", "tiny.json", "--pretrained", "epoch_10.pt"];
    let output = ["noise", "--output", "noise.npy"];
    s.done(&[&["embed", "images"], &model[..], &output].concat());
    let run = |input: &[&str]| -> Vec<f64> {
        let json = s.done(&classify(
            &[&adapt[..], &["--format", "json"], input].concat(),
        ));
        let score = |line: &str| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64();
        json.lines().filter_map(score).collect()
    };
    let (images, features) = (run(&["noise"]), run(&["--features", "noise.npy"]));
    assert_eq!(images.len(), features.len());
    assert!(
        images
            .iter()
            .zip(&features)
            .all(|(a, b)| (a - b).abs() < 1e-5)
    );
}

#[test]
fn wrong_use_is_refused() {
    let s = sandbox();
    s.done(&classify(&[
        "--adapt", "adaneg", "--memory", "memory", "noise",
    ]));
    s.write("other.txt", "wool\nsand\n");
    let mut transcripts = String::new();
    for more in [
        &["--adapt", "oodd", "noise"][..],
        &["--adapt", "adaneg", "--no-reject", "noise"],
        &[
            "--adapt",
            "adaneg",
            "--num-shards",
            "2",
            "--shard-index",
            "0",
            "noise",
        ],
        &["--adapt", "tanl", "--features", "x.npy"],
        &["--memory", "memory", "noise"],
        &["--adapt", "tanl", "--memory", "memory", "noise"],
        &["--adapt", "adaneg", "--memory", "words.txt", "noise"],
        &["--adapt", "adaneg", "--adapt-threshold", "nan", "noise"],
    ] {
        let arguments = classify(more);
        let output = s.clipn(&arguments);
        assert_ne!(output.status.code(), Some(0));
        transcripts += &transcript(&s, &arguments, &output);
    }
    for more in [
        &["--adapt", "adaneg", "--classes", "classes.txt", "noise"][..],
        &[
            "--adapt",
            "adaneg",
            "--classes",
            "classes.txt",
            "--negatives",
            "other.txt",
            "--memory",
            "memory",
            "noise",
        ],
    ] {
        let arguments = with_model("classify", more);
        let output = s.clipn(&arguments);
        assert_ne!(output.status.code(), Some(0));
        transcripts += &transcript(&s, &arguments, &output);
    }
    assert_text("adapt-refused", &transcripts);
}

#[test]
fn a_resumed_run_with_fewer_images_is_refused() {
    let s = sandbox();
    let run = |list: &str| {
        s.write("list.txt", list);
        let more = [
            "--adapt",
            "adaneg",
            "--adapt-batch",
            "2",
            "--list",
            "list.txt",
        ];
        let output = ["--output", "rows.jsonl", "--resume"];
        s.clipn(&classify(&[&more[..], &output].concat()))
    };
    let whole = run("noise/0.bmp\nnoise/1.bmp\nnoise/2.bmp\n");
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let fewer = run("noise/0.bmp\n");
    let error = text(&fewer.stderr);
    assert_eq!(fewer.status.code(), Some(2), "{error}");
    assert!(error.contains("there are fewer images now"), "{error}");
}

#[test]
fn a_memory_that_went_on_with_another_output_resumes_no_earlier_one() {
    let s = sandbox();
    let run = |output: &str, images: &str| {
        let adapt = [
            "--adapt",
            "adaneg",
            "--adapt-batch",
            "2",
            "--memory",
            "memory",
        ];
        let output = ["--output", output, "--resume", images];
        s.clipn(&classify(&[&adapt[..], &output].concat()))
    };
    assert!(run("a.jsonl", "id").status.success());
    let memory = std::fs::read(s.path("memory")).unwrap();
    // The last run may be repeated.
    assert!(run("a.jsonl", "id").status.success());
    assert_eq!(std::fs::read(s.path("memory")).unwrap(), memory);
    assert!(run("b.jsonl", "noise").status.success());
    let memory = std::fs::read(s.path("memory")).unwrap();
    let refused = run("a.jsonl", "id");
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(
        error.contains("cannot resume a.jsonl: its memory memory has continued with b.jsonl"),
        "{error}"
    );
    assert_eq!(std::fs::read(s.path("memory")).unwrap(), memory);
}
