//! `clipn bench`.

use crate::common::{MODEL, Sandbox, error_report, is_error_report, test_data, text};
use serde_json::Value;

/// `clipn bench` of the tiny model with two repetitions.
fn bench<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "--quick"], &MODEL[..], more].concat()
}

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    serde_json::from_str(&sandbox.done(&[arguments, &["--format", "json"]].concat())).unwrap()
}

/// Fails with exit code 2 and an error report that contains every part.
#[track_caller]
fn rejected(arguments: &[&str], parts: &[&str]) {
    let output = Sandbox::new().clipn(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(is_error_report(&error), "{error}");
    for part in parts {
        assert!(
            error.contains(part),
            "{arguments:?}: no {part:?} in {error}"
        );
    }
}

#[test]
fn flags_that_no_task_takes_are_rejected() {
    for (flags, task) in [
        (&["--batch-size", "4"][..], "metrics"),
        (&["--full"], "image-b32"),
        (&["--model", "ViT-B-16"], "metrics"),
        (&["--data", "."], "text77"),
    ] {
        let message = format!("{} has no effect on the tasks", flags[0]);
        rejected(
            &[&["bench", "--quick", task], flags].concat(),
            &[&message, "leave it out, or measure one of"],
        );
    }
}

#[test]
fn measures_time_and_memory_of_every_task() {
    let sandbox = Sandbox::new();
    let report = json(&sandbox, &bench(&["--data", "photos", "--threads", "2"]));
    assert_eq!(report["threads"], 2);
    assert!(report["product_peak_gflops"].as_f64().unwrap() > 0.01);
    let tasks = report["tasks"].as_array().unwrap();
    let named: Vec<_> = tasks
        .iter()
        .map(|task| task["task"].as_str().unwrap())
        .collect();
    let expected = [
        "image",
        "image-int8",
        "text77",
        "text16",
        "text77-int8",
        "text16-int8",
        "train77",
        "train16",
        "classifier",
        "classifier-int8",
        "step",
        "step-cached",
        "pixels",
        "metrics",
    ];
    assert_eq!(named, expected);
    for task in tasks {
        let number = |key: &str| {
            task[key]
                .as_f64()
                .unwrap_or_else(|| panic!("no {key} in {task}"))
        };
        let seconds: Vec<f64> = task["seconds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s.as_f64().unwrap())
            .collect();
        assert_eq!(seconds.len(), 2);
        let is = |key: &str, expected: f64| (number(key) / expected - 1.0).abs() < 1e-9;
        assert!(
            is("median_s", (seconds[0] + seconds[1]) / 2.0)
                && is("best_s", seconds[0].min(seconds[1]))
        );
        assert!(number("rate") > 0.0);
        if cfg!(target_os = "linux") {
            assert!(number("peak_memory_mib") > 1.0);
        }
        let has_products = task["model"].is_string();
        assert_eq!(
            has_products,
            task["gflops"].is_number() && task["share_of_peak"].is_number(),
            "{task}"
        );
    }
    let of = |name: &str| tasks.iter().find(|task| task["task"] == name).unwrap();
    assert_eq!(of("text77")["shape"], "32 x 77 ids");
    assert_eq!(of("pixels")["details"]["unreadable"], 0);
    assert_eq!(of("classifier")["details"]["full"], false);
    let details = &of("classifier")["details"];
    let (each, all) = (
        details["ms_a_pair"].as_f64().unwrap(),
        details["all_seconds"].as_f64().unwrap(),
    );
    assert!((each * 128.0 - all).abs() < 1e-9 * all);
}

#[test]
fn keeps_the_requested_order_in_every_format() {
    let sandbox = Sandbox::new();
    let arguments = bench(&["text16", "image", "text16"]);
    let table = sandbox.done(&arguments);
    let first_words: Vec<_> = table
        .lines()
        .take(4)
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert_eq!(first_words, ["task", "text16", "image", ""]);
    assert!(
        table.contains("tokens/s") && table.contains("GFLOP/s"),
        "{table}"
    );
    let csv = sandbox.done(&[&arguments[..], &["--format", "csv"]].concat());
    assert_eq!(csv.lines().count(), 3);
    assert!(csv.starts_with("task,model,shape,median_s"), "{csv}");
}

#[test]
fn random_weights_need_no_file() {
    let sandbox = Sandbox::new();
    sandbox.training_set();
    let report = json(
        &sandbox,
        &[
            "bench",
            "step",
            "--reps",
            "3",
            "--model",
            "small.json",
            "--data",
            ".",
        ],
    );
    let step = &report["tasks"][0];
    assert_eq!(
        (
            step["model"].as_str(),
            step["seconds"].as_array().unwrap().len()
        ),
        (Some("small"), 3)
    );
    assert_eq!(step["details"]["captions"], "./captions.tsv");
    assert_eq!(step["details"]["words_a_caption"], 5.0);
}

#[test]
fn finds_captions_in_the_data_directory() {
    let Some(folder) = test_data("data/coco-mini") else {
        return;
    };
    let sandbox = Sandbox::new();
    let folder = folder.canonicalize().unwrap();
    let report = json(
        &sandbox,
        &bench(&["step-cached", "--data", folder.to_str().unwrap()]),
    );
    let words = report["tasks"][0]["details"]["words_a_caption"]
        .as_f64()
        .unwrap();
    assert!((9.0..13.0).contains(&words), "{words}");
}

#[test]
fn rejects_wrong_usage_before_measuring() {
    rejected(
        &["bench", "image-b64"],
        &["image-b64", "image-b32", "step-cached", "metrics"],
    );
    rejected(&["bench", "pixels"], &["pixels", "--data"]);
    rejected(
        &["bench", "pixels", "--data", "nowhere"],
        &["--data nowhere", "not a directory"],
    );
    rejected(&["bench", "text16", "--reps", "0"], &["--reps"]);
    rejected(
        &["bench", "text16", "--pretrained", "epoch_10.pt"],
        &["--model"],
    );
    rejected(&bench(&["image-b32"]), &["image-b32", "`image`"]);
    rejected(
        &bench(&["text16", "--precision", "int8"]),
        &["--precision has no effect", "image-b32-int8"],
    );
}

#[test]
fn names_the_task_that_fails() {
    let sandbox = Sandbox::new();
    sandbox.write("empty/readme.txt", "no images");
    let output = sandbox.clipn(&["bench", "pixels", "--quick", "--data", "empty"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let report = error_report(&error);
    assert!(
        report.starts_with("error: pixels: ") && report.contains("empty"),
        "{error}"
    );
    assert!(output.stdout.is_empty());

    let output = sandbox.clipn(&["bench", "text16", "--model", "ViT-X"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("ViT-X"),
        "{}",
        text(&output.stderr)
    );
}

/// An interrupt stops the run and its child process.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_stops_the_child_process() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let program = assert_cmd::cargo::cargo_bin("clipn");
    let mut run = Command::new(program)
        .args(["bench", "text77", "--reps", "10000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("measuring text77") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    let children = || {
        let list =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
        list.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let child = std::iter::repeat_with(children)
        .find(|children| !children.is_empty())
        .unwrap()
        .remove(0);
    assert!(
        Command::new("kill")
            .args(["-TERM", &run.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(
        state.is_empty() || state.contains(") Z "),
        "the child still runs: {state}"
    );
}

#[test]
fn compares_with_an_earlier_run() {
    let sandbox = Sandbox::new();
    let earlier = sandbox.done(&bench(&["text16", "text16-int8", "--format", "json"]));
    sandbox.write("before.json", &earlier);
    let earlier: Value = serde_json::from_str(&earlier).unwrap();
    let report = json(&sandbox, &bench(&["text16", "--compare", "before.json"]));
    let [row] = &report["compared"]["tasks"].as_array().unwrap()[..] else {
        panic!("expected one row: {report}");
    };
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(row["earlier_rate"], earlier["tasks"][0]["rate"]);
    let ratio = number(&report["tasks"][0]["rate"]) / number(&row["earlier_rate"]);
    assert!((number(&row["ratio"]) - ratio).abs() < 1e-9);
    let [low, high] = [0, 1].map(|end| number(&row["interval"][end]));
    assert!(
        low <= ratio * 1.000_001 && ratio <= high * 1.000_001,
        "{row}"
    );
    let table = sandbox.done(&bench(&["text16", "--compare", "before.json"]));
    assert!(table.contains("95 % interval"), "{table}");
    rejected(
        &bench(&["text16", "--compare", "tiny.json"]),
        &["--compare tiny.json", "clipn bench --format json"],
    );
}

/// What a task takes reaches the process that measures it.
#[test]
fn the_batch_and_the_device_are_those_of_the_flags() {
    let sandbox = Sandbox::new();
    let report = json(
        &sandbox,
        &bench(&["text16", "--batch-size", "3", "--device", "auto"]),
    );
    let task = &report["tasks"][0];
    assert!(
        task["shape"].as_str().unwrap().starts_with("3 "),
        "{report}"
    );
    // The first device of this machine, which is the CPU at least.
    assert!(task["device"].is_string(), "{report}");
    assert_eq!(report["device"], task["device"]);
    let on_the_cpu = json(&sandbox, &bench(&["text16"]));
    assert!(
        on_the_cpu["tasks"][0].get("device").is_none(),
        "{on_the_cpu}"
    );
}

/// The times of thousands of repetitions are more than a pipe holds.
#[test]
fn many_repetitions_end() {
    let sandbox = Sandbox::new();
    sandbox.image("one/pixel.bmp", 1, 1, |_, _| [9, 9, 9]);
    let arguments = ["bench", "pixels", "--data", "one", "--reps", "4000"];
    let report = json(&sandbox, &arguments);
    assert_eq!(
        report["tasks"][0]["seconds"].as_array().unwrap().len(),
        4000
    );
}
