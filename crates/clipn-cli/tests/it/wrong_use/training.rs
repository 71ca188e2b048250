//! Wrong use of `clipn train`.

use crate::common::{Sandbox, error_report, text};
use crate::wrong_use::fails;

/// Runs `clipn train` on the training set, and checks the exit code and the error report. Errors in
/// a batch appear after the lines that describe the run.
#[track_caller]
fn training_fails(sandbox: &Sandbox, code: i32, arguments: &[&str], parts: &[&str]) {
    let common = [
        "train",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
    ];
    let arguments = [&common[..], arguments].concat();
    let output = sandbox.clipn(&arguments);
    let error = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {error}{}",
        text(&output.stdout)
    );
    assert!(
        output.stdout.is_empty() && !error.contains("panicked"),
        "{arguments:?}: {error}"
    );
    let report = error_report(&error);
    for part in parts {
        assert!(
            report.contains(part),
            "{arguments:?}: no {part:?} in {report}"
        );
    }
}

#[test]
fn rejects_invalid_training_settings() {
    let s = &Sandbox::new();
    s.training_set();
    fails(s, 2, &["train", "--model", "small.json"], &["--train-data"]);
    training_fails(s, 2, &[], &["--pretrained", "--objective clip"]);
    let clip = |more: &[&'static str]| [&["--objective", "clip"], more].concat();
    training_fails(
        s,
        2,
        &clip(&["--batch-size", "1"]),
        &["at least 2", "--batch-size"],
    );
    // The failed run did no step, so its name is still free.
    let corrected = ["--batch-size", "48", "--epochs", "1"];
    let common = [
        "train",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
    ];
    s.done(&[&common[..], &clip(&corrected)].concat());
    let many = ["--name", "many", "--batch-size", "8", "--accum-freq", "7"];
    training_fails(s, 2, &clip(&many), &["--accum-freq", "at most 6"]);
    training_fails(
        s,
        1,
        &clip(&["--name", "large", "--batch-size", "49"]),
        &[" for a batch of ", "got 48"],
    );
    training_fails(s, 2, &clip(&["--epochs", "0"]), &["--epochs", "at least 1"]);
    training_fails(s, 2, &clip(&["--keep", "0"]), &["--keep", "at least 1"]);
    training_fails(
        s,
        2,
        &clip(&["--name", "lr", "--batch-size", "8", "--lr", "nan"]),
        &["learning rate"],
    );
    training_fails(
        s,
        2,
        &clip(&["--cache-image-features"]),
        &["--cache-image-features", "--objective clip"],
    );
    let cached = [
        "--objective",
        "clipn",
        "--pretrained",
        "epoch_10.pt",
        "--cache-image-features",
    ];
    training_fails(
        s,
        2,
        &cached,
        &["--cache-image-features", "--augmentation none"],
    );
    training_fails(
        s,
        2,
        &["--objective", "siglip"],
        &["siglip", "clipn-handcrafted"],
    );
    training_fails(s, 2, &clip(&["--device", "tpu"]), &["cuda:N"]);
    training_fails(s, 2, &["--loss-weights", "1,2"], &["0.5,0.5,0.5"]);
    training_fails(s, 2, &["--tso", "l1"], &["l2 or cosine"]);
    training_fails(
        s,
        2,
        &clip(&["--eval-benchmark", "imagenet-1k"]),
        &["--data-root"],
    );
    let unknown = ["--eval-benchmark", "imagenet-9k", "--data-root", "."];
    training_fails(s, 1, &clip(&unknown), &["imagenet-9k", "imagenet-1k"]);
}

#[test]
fn rejects_unusable_training_data_and_weights() {
    let s = &Sandbox::new();
    s.training_set();
    let on = |data: &str, parts: &[&str]| {
        let clip = ["--objective", "clip", "--batch-size", "8", "--name", "data"];
        fails(
            s,
            1,
            &[
                &["train", "--model", "small.json", "--train-data", data],
                &clip[..],
            ]
            .concat(),
            parts,
        );
    };
    on("gone.tsv", &["gone.tsv"]);
    on("gone-{000..003}.tar", &["gone-000.tar"]);
    on("photos", &["photos", ".tar"]);
    s.write("columns.csv", "image,text\na.jpg,a\n");
    on("columns.csv", &["columns.csv", "filepath"]);
    s.write("empty.tsv", "filepath\ttitle\n");
    on("empty.tsv", &["empty.tsv"]);

    // The tiny model's weights have 16 "no" prompts.
    let tiny = [
        "train",
        "--model",
        "tiny.json",
        "--pretrained",
        "epoch_10.pt",
        "--train-data",
        "captions.tsv",
    ];
    let other = [&tiny[..], &["--batch-size", "8", "--no-prompts", "4"]].concat();
    fails(s, 1, &other, &["epoch_10.pt", "16", "expected 4"]);
    let handcrafted = [
        &tiny[..],
        &["--batch-size", "8", "--objective", "clipn-handcrafted"],
    ]
    .concat();
    fails(s, 1, &handcrafted, &["epoch_10.pt", "expected 0"]);
    training_fails(
        s,
        1,
        &["--pretrained", "epoch_10.pt", "--batch-size", "8"],
        &["epoch_10.pt", "small"],
    );
}

#[test]
fn rejects_unusable_runs_and_checkpoints() {
    let s = &Sandbox::new();
    s.training_set();
    let clip = |more: &[&'static str]| {
        [
            &["--objective", "clip", "--batch-size", "16", "--epochs", "1"],
            more,
        ]
        .concat()
    };
    training_fails(
        s,
        1,
        &clip(&["--resume", "photos"]),
        &["photos", "not a training checkpoint"],
    );
    training_fails(s, 1, &clip(&["--resume", "gone"]), &["gone"]);
    training_fails(s, 1, &clip(&["--resume", "classes.txt"]), &["classes.txt"]);
    let common = [
        "train",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
    ];
    let printed = s.done(&[&common[..], &clip(&[])].concat());
    training_fails(s, 2, &clip(&[]), &["log.jsonl", "resume"]);
    assert!(s.path(printed.trim()).is_file());

    let no = [
        "--objective",
        "clipn",
        "--pretrained",
        printed.trim(),
        "--batch-size",
        "16",
    ];
    let from = "logs/clip-small/checkpoints/epoch-1";
    training_fails(
        s,
        2,
        &[&no[..], &["--resume", from]].concat(),
        &["--objective", "clipn", "--pretrained"],
    );
    let simple = [
        "--templates",
        "simple",
        "--objective",
        "clipn-handcrafted",
        "--pretrained",
        printed.trim(),
    ];
    let simple = [&simple[..], &["--batch-size", "16"]].concat();
    training_fails(s, 1, &simple, &["simple", "no `no` lines"]);
    let model = s.path(from).join("model.safetensors");
    let whole = std::fs::read(&model).unwrap();
    std::fs::write(&model, &whole[..whole.len() / 2]).unwrap();
    training_fails(
        s,
        1,
        &clip(&["--resume", from]),
        &["model.safetensors", "corrupt"],
    );
}

#[test]
fn flags_without_effect_and_numbers_out_of_range_are_named() {
    let s = &Sandbox::new();
    s.training_set();
    fails(
        s,
        2,
        &["train", "--train-data", "captions.tsv"],
        &[
            "--objective clipn needs the weights of a trained CLIP",
            "give --pretrained",
        ],
    );
    let clip = |more: &[&'static str]| [&["--objective", "clip"], more].concat();
    for (arguments, parts) in [
        (clip(&["--eval-frequency", "2"]), ["--eval-benchmark", ""]),
        (
            clip(&["--eval-templates", "simple"]),
            ["--eval-benchmark", ""],
        ),
        (clip(&["--data-root", "."]), ["--eval-benchmark", ""]),
        (
            clip(&[
                "--eval-benchmark",
                "b.toml",
                "--data-root",
                ".",
                "--eval-frequency",
                "0",
            ]),
            ["--eval-frequency", "0"],
        ),
        (
            clip(&["--templates", "simple"]),
            ["--templates has no effect", "--objective clip"],
        ),
        (
            clip(&["--json-caption-key", "a"]),
            ["--json-caption-key has no effect", "a CSV or TSV file"],
        ),
        (clip(&["--name", ""]), ["--name", "subdirectory of --logs"]),
        (
            clip(&["--name", "../other"]),
            ["--name", "subdirectory of --logs"],
        ),
    ] {
        training_fails(s, 2, &arguments, &parts);
    }
    for (arguments, parts) in [
        (clip(&["--wd", "-1"]), ["weight decay", "-1"]),
        (clip(&["--grad-clip-norm", "-1"]), ["gradient norm", "-1"]),
        (
            vec!["--pretrained", "x", "--loss-weights", "0,0,0"],
            ["expected a weight other than 0", ""],
        ),
    ] {
        training_fails(s, 2, &arguments, &parts);
    }
    assert!(!s.path("logs").exists());
}
