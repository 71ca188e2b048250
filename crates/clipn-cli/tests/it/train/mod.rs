//! `clipn train` on the compiled program: objectives, logs, resuming after kills, broken data,
//! evaluation during training.

mod cache;
mod mpi;
mod resume;

use crate::common::{Sandbox, error_report, text};
use crate::world::World;
use clipn::progress::NoProgress;
use serde_json::Value;

/// The common arguments: the small model and batches of 8, so that the captions give 6 steps per
/// epoch.
const COMMON: [&str; 9] = [
    "train",
    "--model",
    "small.json",
    "--batch-size",
    "8",
    "--workers",
    "2",
    "--lr",
    "3e-3",
];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.training_set();
    sandbox
}

/// The arguments of a run, on the captions unless they name other data.
fn train<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let table: &[&str] = if more.contains(&"--train-data") {
        &[]
    } else {
        &["--train-data", "captions.tsv"]
    };
    [&COMMON[..], table, &["--name", name], more].concat()
}

/// Trains a plain CLIP for the objectives that need one.
fn trained_clip(s: &Sandbox) -> String {
    s.done(&train("start", &["--objective", "clip", "--epochs", "1"]))
        .trim()
        .to_owned()
}

/// Reads a run's log.
fn log(s: &Sandbox, name: &str) -> Vec<Value> {
    let lines = std::fs::read_to_string(s.path(&format!("logs/{name}/log.jsonl"))).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn steps(log: &[Value]) -> Vec<u64> {
    log.iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect()
}

/// The mean total loss of some lines.
fn mean_loss(lines: &[Value]) -> f64 {
    let total: f64 = lines
        .iter()
        .map(|line| line["losses"]["total"].as_f64().unwrap())
        .sum();
    total / lines.len() as f64
}

/// The lines of a log without their times.
fn without_times(log: &[Value]) -> Vec<Value> {
    log.iter()
        .map(|line| {
            serde_json::json!([
                line["step"],
                line["epoch"],
                line["samples"],
                line["losses"],
                line["lr"]
            ])
        })
        .collect()
}

/// Checks that two runs ended equally: equal weights and moments, and each step once in the log.
#[track_caller]
fn assert_same_end(s: &Sandbox, one: &str, other: &str, last: &str) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| {
            std::fs::read(s.path(&format!("logs/{run}/checkpoints/{last}/{file}"))).unwrap()
        };
        assert!(
            read(one) == read(other),
            "{file} of {one} and {other} differ"
        );
    }
    assert_eq!(without_times(&log(s, one)), without_times(&log(s, other)));
}

#[test]
fn trained_logit_scale_changes_the_scores() {
    let s = sandbox();
    let clip = trained_clip(&s);
    let p = |more: &[&str]| {
        let fixed = [
            "classify",
            "--model",
            "small.json",
            "--pretrained",
            &clip,
            "--classes",
            "red, green, blue",
        ];
        let printed = s.done(
            &[
                &fixed[..],
                &["--format", "json", "--score", "msp", "--threshold", "0"],
                more,
            ]
            .concat(),
        );
        let row: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
        row["score"].as_f64().unwrap()
    };
    let photo = ["--templates", "simple", "photos/red.bmp"];
    let published = p(&photo);
    assert_eq!(
        published,
        p(&[&photo[..], &["--logit-scale", "published"]].concat())
    );
    // Training started at 1 / 0.07 and took a few steps: the scale is below 100, so p is less
    // sharp.
    let trained = p(&[&photo[..], &["--logit-scale", "trained"]].concat());
    assert!(
        trained < published && trained > 1.0 / 3.0,
        "{trained} {published}"
    );
}

#[test]
fn warns_of_words_that_were_not_in_training() {
    let s = sandbox();
    let clip = trained_clip(&s);
    let no = s.done(&train(
        "no",
        &["--pretrained", &clip, "--epochs", "1", "--no-prompts", "2"],
    ));
    for weights in [clip.as_str(), no.trim()] {
        let classes = "red picture, green zeppelin";
        let output = s.clipn(&[
            "classify",
            "--model",
            "small.json",
            "--pretrained",
            weights,
            "--classes",
            classes,
            "--templates",
            "simple",
            "photos",
        ]);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(
            stderr.contains("warning: words that did not occur in the training captions make 1 of 2 classes unreliable")
                && stderr.contains("unreliable: `green zeppelin` (zeppelin)\n"),
            "{stderr}"
        );
        assert!(
            stderr.contains("1 of 1 templates have words") && stderr.contains("such as `photo`"),
            "{stderr}"
        );
    }
    // The training captions of other weights are unknown.
    let output = s.clipn(&crate::common::with_model(
        "classify",
        &["--classes", "green zeppelin, red", "photos"],
    ));
    assert!(
        !text(&output.stderr).contains("did not occur"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn trains_a_clip_from_scratch_and_teaches_it_no() {
    let s = &sandbox();
    let printed = s.done(&train("clip", &["--objective", "clip", "--epochs", "6"]));
    assert_eq!(printed, "logs/clip/checkpoints/epoch-6/model.safetensors\n");
    assert!(s.path("logs/clip/settings.toml").is_file());
    let events = std::fs::read_dir(s.path("logs/clip/tensorboard"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(
        events
            .file_name()
            .to_string_lossy()
            .starts_with("events.out.tfevents")
    );
    assert!(events.metadata().unwrap().len() > 36 * 50);
    let lines = log(s, "clip");
    assert_eq!(steps(&lines), (1..=36).collect::<Vec<_>>());
    let (first, last) = (mean_loss(&lines[..6]), mean_loss(&lines[30..]));
    assert!(last < 0.8 * first, "the loss went from {first} to {last}");
    // The newest three of six checkpoints are kept.
    assert_eq!(
        std::fs::read_dir(s.path("logs/clip/checkpoints"))
            .unwrap()
            .count(),
        3
    );

    let weights = printed.trim();
    let clipn = [
        "--objective",
        "clipn",
        "--pretrained",
        weights,
        "--epochs",
        "3",
    ];
    let printed = s.done(&train("clipn", &clipn));
    let lines = log(s, "clipn");
    let (first, last) = (mean_loss(&lines[..6]), mean_loss(&lines[12..]));
    assert!(last < 0.9 * first, "the loss went from {first} to {last}");
    for name in ["total", "yes", "no", "tso"] {
        assert!(
            lines[0]["losses"][name].is_number(),
            "no {name} in {}",
            lines[0]
        );
    }

    let inspect = |file: &str| -> Value {
        serde_json::from_str(&s.done(&["inspect", file, "--format", "json"])).unwrap()
    };
    assert_ne!(inspect(weights), inspect(printed.trim()));
    assert!(
        s.done(&["inspect", "--tensors", printed.trim()])
            .contains("prompt_no")
    );
    let eval = [
        "eval",
        "--model",
        "small.json",
        "--pretrained",
        printed.trim(),
        "--templates",
        "simple",
    ];
    let table = s.done(&[&eval[..], &["--id", "id", "--ood", "noise=noise"]].concat());
    assert!(table.contains("ATD") && table.contains("noise"), "{table}");
}

#[test]
fn two_accumulated_batches_equal_one() {
    let s = &sandbox();
    let data = [
        "train",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
        "--objective",
        "clip",
    ];
    let common = [&data[..], &["--epochs", "1", "--augmentation", "none"]].concat();
    s.done(&[&common[..], &["--name", "whole", "--batch-size", "16"]].concat());
    s.done(
        &[
            &common[..],
            &["--name", "parts", "--batch-size", "8", "--accum-freq", "2"],
        ]
        .concat(),
    );
    let (whole, parts) = (log(s, "whole"), log(s, "parts"));
    assert_eq!((whole.len(), parts.len()), (3, 3));
    for (whole, parts) in whole.iter().zip(&parts) {
        let [whole, parts] = [whole, parts].map(|line| line["losses"]["total"].as_f64().unwrap());
        assert!((whole - parts).abs() < 1e-4 * whole, "{whole} and {parts}");
    }
}

#[test]
fn trains_on_handcrafted_templates() {
    let s = &sandbox();
    let weights = trained_clip(s);
    let more = [
        "--objective",
        "clipn-handcrafted",
        "--pretrained",
        &weights,
        "--epochs",
        "1",
    ];
    let printed = s.done(&train("handcrafted", &more));
    let tensors = s.done(&["inspect", "--tensors", printed.trim()]);
    assert!(
        tensors.contains("token_embedding_no") && !tensors.contains("prompt_no"),
        "{tensors}"
    );
    assert_eq!(log(s, "handcrafted").len(), 6);
}

#[test]
fn evaluates_after_each_epoch_on_shards() {
    let s = &sandbox();
    let world = World {
        per_class: 1,
        per_far_set: 2,
        shard_size: 40,
        ..World::default()
    };
    let files = world.write(&s.path("world"), 80, &NoProgress).unwrap();
    let shards = s.path("world").join(&files.shard_pattern);
    let more = [
        "--objective",
        "clip",
        "--epochs",
        "2",
        "--train-data",
        shards.to_str().unwrap(),
    ];
    let benchmark = [
        "--eval-benchmark",
        files.benchmark.to_str().unwrap(),
        "--data-root",
        "world",
    ];
    let common = [
        "train",
        "--model",
        "small.json",
        "--batch-size",
        "16",
        "--name",
        "shards",
    ];
    let output = s.clipn(&[&common[..], &more, &benchmark].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(
        error.contains("after epoch 1\n") && error.contains("after epoch 2\n"),
        "{error}"
    );
    assert!(error.contains("AUROC"), "{error}");
    assert_eq!(steps(&log(s, "shards")), (1..=10).collect::<Vec<_>>());
    let evaluations = std::fs::read_to_string(s.path("logs/shards/eval.jsonl")).unwrap();
    let evaluations: Vec<Value> = evaluations
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(evaluations.len(), 2);
    assert_eq!(
        (&evaluations[1]["epoch"], &evaluations[1]["step"]),
        (&Value::from(2), &Value::from(10))
    );
    assert!(evaluations[1]["results"].is_object());
}

/// Weights that record their logit scale are evaluated with it, as `clipn eval` does.
#[cfg(feature = "mini")]
#[test]
fn evaluations_during_training_have_the_figures_of_eval() {
    let s = &sandbox();
    for (number, folder) in ["id/pizza", "id/banana", "id/teapot", "ood"]
        .iter()
        .enumerate()
    {
        std::fs::create_dir_all(s.path(folder)).unwrap();
        for image in number * 9..number * 9 + 9 {
            let from = s.path(&format!("pairs/{image}.bmp"));
            std::fs::copy(from, s.path(&format!("{folder}/{image}.bmp"))).unwrap();
        }
    }
    s.write(
        "own.toml",
        "name = \"own\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"others\"\nfolder = \"ood\"\n",
    );
    let run = [
        "train",
        "--pretrained",
        "clipn-mini",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "16",
        "--epochs",
        "1",
        "--name",
        "taught",
        "--eval-benchmark",
        "own.toml",
        "--data-root",
        ".",
    ];
    let weights = s.done(&run).trim().to_owned();
    let line = std::fs::read_to_string(s.path("logs/taught/eval.jsonl")).unwrap();
    // An evaluation that was cut short is made up for, once, also if the run is complete.
    let again = [&run[..], &["--resume", "latest"]].concat();
    let lines = || std::fs::read_to_string(s.path("logs/taught/eval.jsonl"));
    s.done(&again);
    assert_eq!(lines().unwrap(), line);
    std::fs::remove_file(s.path("logs/taught/eval.jsonl")).unwrap();
    s.done(&again);
    assert_eq!(lines().unwrap(), line);
    let during: Value = serde_json::from_str(&line).unwrap();
    let results = |scale: &str| -> Value {
        let output = format!("results-{scale}");
        s.done(&[
            "eval",
            "--pretrained",
            &weights,
            "--benchmark",
            "own.toml",
            "--data-root",
            ".",
            "--templates",
            "simple",
            "--negatives",
            "none",
            "--logit-scale",
            scale,
            "--output",
            &output,
        ]);
        let json = std::fs::read_to_string(s.path(&format!("{output}/results.json"))).unwrap();
        serde_json::from_str(&json).unwrap()
    };
    let averages = &during["results"]["averages"];
    assert!(averages.as_array().is_some_and(|scores| scores.len() > 5));
    assert_eq!(*averages, results("trained")["averages"]);
    assert_ne!(*averages, results("published")["averages"]);
}

#[test]
fn skips_broken_samples_up_to_a_limit() {
    let s = &sandbox();
    s.write("pairs/7.bmp", "no image");
    std::fs::remove_file(s.path("pairs/11.bmp")).unwrap();
    let more = ["--objective", "clip", "--epochs", "1"];
    let output = s.clipn(&train("broken", &more));
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let warning = error
        .lines()
        .find(|line| line.starts_with("warning: "))
        .unwrap();
    for part in ["epoch 1", "2", "7.bmp", "11.bmp"] {
        assert!(warning.contains(part), "no {part} in {warning}");
    }
    assert_eq!(log(s, "broken").len(), 6);
    let output = s.clipn(&train("strict", &[&more[..], &["--max-bad", "0"]].concat()));
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let report = error_report(&error);
    assert!(
        report.contains(", more than the limit of 0: ")
            && report.contains(".bmp")
            && report.contains("--max-bad"),
        "{error}"
    );
}

#[test]
fn augmentation_flags_reach_the_settings() {
    let s = sandbox();
    let flags = [
        "--crop-scale",
        "0.35,1",
        "--flip",
        "0.5",
        "--color-jitter",
        "0.4,0.3,0.2",
        "--grayscale",
        "0.1",
    ];
    let more = ["--objective", "clip", "--epochs", "1", "--erasing", "0.25"];
    s.done(&train("strong", &[&more[..], &flags[..]].concat()));
    let written = std::fs::read_to_string(s.path("logs/strong/settings.toml")).unwrap();
    for setting in [
        "0.35,",
        "horizontal_flip = 0.5",
        "greyscale = 0.1",
        "erasing = 0.25",
        "brightness = 0.4",
        "contrast = 0.3",
        "saturation = 0.2",
    ] {
        assert!(written.contains(setting), "no {setting} in {written}");
    }
    s.done(&[
        "train",
        "--settings",
        "logs/strong/settings.toml",
        "--name",
        "again",
    ]);
    assert_same_end(&s, "strong", "again", "epoch-1");

    let fixed = ["--augmentation", "none", "--crop-scale", "0.5,1"];
    for (name, wrong, code, expected) in [
        ("fixed", &fixed[..], 2, "--crop-scale sets random crops"),
        // The British spelling remains as a hidden alias.
        ("three", &["--colour-jitter", "0.4"], 2, "three numbers"),
        (
            "chance",
            &["--flip", "2"],
            1,
            "horizontal_flip: expected a probability from 0 to 1, got 2",
        ),
    ] {
        let output = s.clipn(&train(name, &[&more[..], wrong].concat()));
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(expected),
            "{}",
            text(&output.stderr)
        );
    }
}
