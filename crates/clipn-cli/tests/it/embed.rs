//! `clipn embed`, and scores, thresholds and labels of features in files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clipn::checkpoint::{Checkpoint, write_safetensors};
use clipn::dataset::FeatureFile;
use serde_json::Value;

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{MODEL, Sandbox, text};

fn embed<'a>(what: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["embed", what][..], &MODEL, more].concat()
}

fn rows(path: &Path) -> Vec<f32> {
    FeatureFile::open(path).unwrap().read_all().unwrap()
}

fn keys(path: &Path) -> Vec<String> {
    FeatureFile::open(path).unwrap().keys().unwrap().to_vec()
}

/// Embeds the sets of the sandbox as `eval` reads them, and the classes.
fn embedded() -> Sandbox {
    let s = Sandbox::new();
    for set in ["id", "noise", "stripes"] {
        let output = format!("{set}.npy");
        s.done(&embed(
            "images",
            &[set, "--faithful-pixels", "--output", &output],
        ));
    }
    for side in ["yes", "no"] {
        let output = format!("{side}.npy");
        let flags = [
            "classes.txt",
            "--templates",
            "simple",
            "--side",
            side,
            "--output",
            &output,
        ];
        s.done(&embed("texts", &flags));
    }
    s.write(
        "labels.txt",
        "goldfish\n".repeat(4) + &"pizza\n".repeat(4) + &"school bus\n".repeat(4),
    );
    s
}

const FEATURES: [&str; 8] = [
    "--features",
    "id=id.npy",
    "--ood-features",
    "noise=noise.npy",
    "--ood-features",
    "stripes=stripes.npy",
    "--labels",
    "labels.txt",
];
const TEXTS: [&str; 4] = ["--text-features", "yes.npy", "--no-features", "no.npy"];

fn results(s: &Sandbox, arguments: &[&str]) -> Value {
    let json = s.done(&[arguments, &["--format", "json"]].concat());
    let mut json: Value = serde_json::from_str(&json).unwrap();
    json.as_object_mut().unwrap().remove("settings");
    json
}

#[test]
fn features_have_the_metrics_of_their_images() {
    let s = embedded();
    let images = [
        "--id",
        "id=id",
        "--ood",
        "noise=noise",
        "--ood",
        "stripes=stripes",
    ];
    let model = [
        &["eval"][..],
        &MODEL,
        &["--templates", "simple", "--classes", "classes.txt"],
    ]
    .concat();
    let expected = results(&s, &[&model[..], &images].concat());
    let with_texts = [&["eval"][..], &FEATURES, &TEXTS].concat();
    assert_eq!(results(&s, &with_texts), expected);
    assert!(
        expected["accuracy"].is_number() || expected["id"].is_object(),
        "{expected}"
    );
    // The texts of the model, and image features only.
    assert_eq!(results(&s, &[&model[..], &FEATURES].concat()), expected);
    s.done(&[&with_texts[..], &["--output", "out", "--repeat", "3"]].concat());
    let scores = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    assert_eq!(scores.lines().count(), 1 + 12 + 5 + 5);
    assert!(scores.contains("noise/0.bmp"), "{scores}");
    assert!(s.path("out/report.html").is_file());
}

#[test]
fn the_factor_of_the_no_logits_is_that_of_the_weights_or_of_the_flag() {
    let s = embedded();
    let [_, model, _, weights] = MODEL;
    let checkpoint = Checkpoint::open(s.path(weights)).unwrap();
    let tensors = checkpoint
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
    let metadata = [("no_scale".to_owned(), "2.5".to_owned())].into();
    write_safetensors(s.path("factor.safetensors"), tensors, &metadata).unwrap();
    let texts = ["--templates", "simple", "--classes", "classes.txt"];
    let model = ["--model", model, "--pretrained", "factor.safetensors"];
    let expected = results(&s, &[&["eval"][..], &model, &texts, &FEATURES].concat());
    let given = |flags: &[&str]| {
        let all = [&["eval"][..], &FEATURES, &TEXTS, flags].concat();
        results(&s, &all)
    };
    assert_eq!(given(&["--no-scale", "2.5"]), expected);
    assert_ne!(given(&[]), expected);
    let output = s.clipn(
        &[
            &["embed", "texts", "classes.txt", "--side", "no"][..],
            &model,
            &["--templates", "simple", "--output", "n.npy"],
        ]
        .concat(),
    );
    assert!(
        text(&output.stderr).contains("give --no-scale 2.5"),
        "{}",
        text(&output.stderr)
    );

    // In a bundle, and in a conversion.
    s.done(
        &[
            &[
                "convert",
                "factor.safetensors",
                "half.safetensors",
                "--dtype",
                "f16",
            ][..],
            &model[..2],
        ]
        .concat(),
    );
    let half = ["--model", model[1], "--pretrained", "half.safetensors"];
    s.done(
        &[
            &["classifier", "build", "--out", "a.clipn"][..],
            &half,
            &texts,
        ]
        .concat(),
    );
    assert!(
        s.done(&["classifier", "show", "a.clipn"])
            .contains("2.5 times these")
    );
    let shown: Value =
        serde_json::from_str(&s.done(&["classifier", "show", "a.clipn", "--format", "json"]))
            .unwrap();
    assert_eq!(shown["no_scale"], 2.5);
}

#[test]
fn features_of_negatives_reject_as_their_texts() {
    let s = embedded();
    let things: String = ('a'..='z').map(|c| format!("{c}{c} thing\n")).collect();
    s.write("things.txt", &things);
    s.done(&embed(
        "texts",
        &[
            "things.txt",
            "--templates",
            "simple",
            "--output",
            "things.npy",
        ],
    ));
    let texts = ["--templates", "simple", "--classes", "classes.txt"];
    let model = [&["eval"][..], &MODEL, &texts, &FEATURES].concat();
    let expected = results(&s, &[&model[..], &["--negatives", "things.txt"]].concat());
    let with_negatives = [&TEXTS[..], &["--negative-features", "things.npy"]].concat();
    let found = results(&s, &[&["eval"][..], &FEATURES, &with_negatives].concat());
    assert_eq!(found, expected);
    assert!(expected.to_string().contains("atd-neg"), "{expected}");
    // They decide, and are named.
    let row = ["--format", "json", "--features", "noise.npy"];
    let rows = s.done(&[&["classify"][..], &row, &with_negatives].concat());
    assert!(rows.contains(" thing\""), "{rows}");
    let error = s.clipn(
        &[
            &["eval"][..],
            &FEATURES,
            &TEXTS,
            &["--negative-features", "yes.npy"],
        ]
        .concat(),
    );
    assert_eq!(error.status.code(), Some(2));
    assert!(
        text(&error.stderr).contains("is the name of a class"),
        "{}",
        text(&error.stderr)
    );
}

#[test]
fn features_are_labeled_as_their_images() {
    let s = embedded();
    let flags = ["--classes", "classes.txt", "--format", "json"];
    let model = [
        &["classify"][..],
        &MODEL,
        &["--templates", "simple"],
        &flags,
    ]
    .concat();
    let images = s.done(&[&model[..], &["id", "noise", "--faithful-pixels"]].concat());
    let files = ["--features", "id.npy", "--features", "noise.npy"];
    assert_eq!(s.done(&[&model[..], &files].concat()), images);
    let texts = [&["classify", "--format", "json"][..], &TEXTS, &files].concat();
    assert_eq!(s.done(&texts), images);
    let mut sharded = Vec::new();
    for shard in ["0", "1"] {
        let flags = ["--shard-index", shard, "--num-shards", "2"];
        let output = s.done(&[&texts[..], &flags].concat());
        sharded.push(output.lines().map(str::to_owned).collect::<Vec<_>>());
    }
    let joined: Vec<&str> = (0..17)
        .map(|row| sharded[row % 2][row / 2].as_str())
        .collect();
    assert_eq!(joined, images.lines().collect::<Vec<_>>());
}

#[test]
fn rows_of_features_are_resumed() {
    let s = embedded();
    let arguments = [
        &[
            "classify",
            "--features",
            "id.npy",
            "--features",
            "noise.npy",
            "--output",
            "rows.csv",
        ][..],
        &TEXTS,
    ]
    .concat();
    s.done(&arguments);
    let whole = std::fs::read_to_string(s.path("rows.csv")).unwrap();
    for cut in [0, whole.len() / 3, whole.len() - 1] {
        s.write("rows.csv", &whole[..cut]);
        s.done(&[&arguments[..], &["--resume"]].concat());
        assert_eq!(std::fs::read_to_string(s.path("rows.csv")).unwrap(), whole);
    }
    let other = s.clipn(&[&arguments[..], &["--resume", "--scale", "50"]].concat());
    assert!(
        text(&other.stderr).contains("logit scale was 100"),
        "{}",
        text(&other.stderr)
    );
}

#[test]
fn a_threshold_of_features_is_that_of_their_images() {
    let s = embedded();
    for image in 0..40_u32 {
        s.image(&format!("many/pizza/{image}.bmp"), 40, 30, |x, y| {
            [(x * image) as u8, (y * 7 + image) as u8, (x * y) as u8]
        });
    }
    let build = [
        "classifier",
        "build",
        "--classes",
        "classes.txt",
        "--templates",
        "simple",
    ];
    s.done(
        &[
            &build[..],
            &MODEL,
            &["--faithful-pixels", "--out", "b.clipn"],
        ]
        .concat(),
    );
    s.done(&embed(
        "images",
        &["many", "--faithful-pixels", "--output", "many.npy"],
    ));
    s.write("many.txt", "pizza\n".repeat(40));
    let calibrate = |input: &[&str], out: &str| -> Value {
        let flags = [
            "calibrate",
            "--bundle",
            "b.clipn",
            "--format",
            "json",
            "--out",
            out,
        ];
        serde_json::from_str(&s.done(&[&flags[..], input].concat())).unwrap()
    };
    let mut images = calibrate(
        &[
            "--id",
            "many",
            "--ood",
            "noise",
            "--pretrained",
            "epoch_10.pt",
        ],
        "i.clipn",
    );
    let features = [
        "--features",
        "many.npy",
        "--labels",
        "many.txt",
        "--ood-features",
        "noise.npy",
    ];
    let mut features = calibrate(&features, "f.clipn");
    assert_eq!(features["pictures"], "many.npy");
    for json in [&mut images, &mut features] {
        for key in ["pictures", "skipped_files"] {
            json.as_object_mut().unwrap().remove(key);
        }
    }
    assert_eq!(features, images);
    let decided = s.done(&[
        "classify",
        "--bundle",
        "f.clipn",
        "--features",
        "many.npy",
        "--format",
        "json",
    ]);
    assert_eq!(decided.lines().count(), 40);
    assert!(decided.contains("\"p_value\":0."), "{decided}");
}

#[test]
fn cached_features_are_found_by_content() {
    let s = Sandbox::new();
    let flags = [
        "--templates",
        "simple",
        "--classes",
        "classes.txt",
        "--id",
        "id=id",
        "--ood",
        "noise=noise",
        "--feature-cache",
        "cache",
        "--format",
        "json",
    ];
    let eval = [&["eval"][..], &MODEL, &flags].concat();
    let run = || {
        let output = s.clipn(&eval);
        let log = text(&output.stderr);
        let line = log
            .lines()
            .find(|line| line.starts_with("feature cache"))
            .unwrap();
        (text(&output.stdout), line.to_owned())
    };
    let (first, log) = run();
    assert_eq!(log, "feature cache cache: 0 images found, 17 encoded");
    assert_eq!(
        run(),
        (
            first,
            "feature cache cache: 17 images found, 0 encoded".to_owned()
        )
    );
    // A renamed file is found, and a changed one is encoded.
    std::fs::rename(s.path("noise/0.bmp"), s.path("noise/9.bmp")).unwrap();
    s.image("noise/1.bmp", 33, 47, |x, y| [x as u8, y as u8, 7]);
    assert_eq!(run().1, "feature cache cache: 16 images found, 1 encoded");
    let gray = s.clipn(&[&eval[..], &["--gray"]].concat());
    let log = text(&gray.stderr);
    assert!(log.contains("0 images found, 17 encoded"), "{log}");
}

#[test]
fn a_killed_run_has_every_row_once() {
    let s = Sandbox::new();
    let line = |n: usize| match n % 7 {
        0 => format!("gone/{n}.jpg\n"),
        n => format!("id/pizza/{}.bmp\n", n % 4),
    };
    s.write("list.txt", (0..3000).map(line).collect::<String>());
    let whole = embed("images", &["--list", "list.txt", "--output", "whole.npy"]);
    s.done(&whole);
    let arguments = embed(
        "images",
        &["--list", "list.txt", "--output", "cut.npy", "--resume"],
    );
    let mut kills = 0;
    loop {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("clipn"))
            .current_dir(s.root())
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_millis(1300);
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline && kills < 3 {
            std::thread::sleep(Duration::from_millis(10));
        }
        if kills == 3 || child.try_wait().unwrap().is_some() {
            assert!(child.wait().unwrap().success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert_eq!(rows(&s.path("cut.npy")), rows(&s.path("whole.npy")));
    assert_eq!(keys(&s.path("cut.npy")), keys(&s.path("whole.npy")));
    let errors = |name: &str| std::fs::read_to_string(s.path(name)).unwrap();
    assert_eq!(errors("cut.errors.jsonl"), errors("whole.errors.jsonl"));
    assert_eq!(errors("cut.errors.jsonl").lines().count(), 429);
    // A row names its image once.
    for line in errors("cut.errors.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let (key, error) = (row["key"].as_str().unwrap(), row["error"].as_str().unwrap());
        assert!(!error.is_empty() && !error.contains(key), "{line}");
    }
    assert!(s.done(&arguments).contains("is complete"));
    assert!(!s.path("cut.npy.partial").exists() && !s.path("cut.npy.rows.jsonl").exists());
}

#[test]
fn every_cut_of_the_files_is_resumed() {
    let s = Sandbox::new();
    let arguments = embed("images", &["id", "--output", "f.npy"]);
    s.done(&arguments);
    let (whole, names) = (
        std::fs::read(s.path("f.npy")).unwrap(),
        keys(&s.path("f.npy")),
    );
    let log: String = names
        .iter()
        .map(|key| format!("{{\"key\":\"{key}\"}}\n"))
        .collect();
    for (features, rows) in [(0, 5), (4, 12), (12, 12), (12, 0), (7, 7)] {
        let row = (whole.len() - 128) / 12;
        std::fs::remove_file(s.path("f.npy")).unwrap();
        s.write(
            "f.npy.partial",
            &whole[..128 + features * row + usize::from(features == 7)],
        );
        let end: usize = log.lines().take(rows).map(|line| line.len() + 1).sum();
        s.write("f.npy.rows.jsonl", &log[..end]);
        s.done(&[&arguments[..], &["--resume"]].concat());
        assert_eq!(
            std::fs::read(s.path("f.npy")).unwrap(),
            whole,
            "{features} {rows}"
        );
        assert_eq!(keys(&s.path("f.npy")), names);
    }
    let other = s.clipn(&[&arguments[..], &["--resume", "--no-normalize"]].concat());
    assert!(text(&other.stderr).contains("normalized was true and is false"));
}

#[test]
fn formats_and_shards_have_the_same_rows() {
    let s = Sandbox::new();
    s.done(&embed("images", &["id", "noise", "--output", "f.npy"]));
    // The keys beside the first one are those of the second too.
    let other = [
        "id",
        "noise",
        "--output",
        "f.safetensors",
        "--keys",
        "s.jsonl",
    ];
    s.done(&embed("images", &other));
    assert_eq!(
        std::fs::read(s.path("s.jsonl")).unwrap(),
        std::fs::read(s.path("f.keys.jsonl")).unwrap()
    );
    s.done(&embed(
        "images",
        &["id", "noise", "--output", "h.npy", "--dtype", "f16"],
    ));
    let whole = rows(&s.path("f.npy"));
    assert_eq!(rows(&s.path("f.safetensors")), whole);
    let half = rows(&s.path("h.npy"));
    assert!(half != whole && half.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-3));
    let dim = whole.len() / 17;
    let (mut shards, mut names) = (Vec::new(), Vec::new());
    for shard in ["0", "1", "2"] {
        let flags = [
            "id",
            "noise",
            "--output",
            "s.npy",
            "--shard-index",
            shard,
            "--num-shards",
            "3",
        ];
        s.done(&embed("images", &flags));
        let path = s.path(&format!("s-0000{shard}-of-00003.npy"));
        shards.push(rows(&path));
        names.push(keys(&path));
    }
    for row in 0..17 {
        assert_eq!(
            shards[row % 3][row / 3 * dim..][..dim],
            whole[row * dim..][..dim]
        );
        assert_eq!(names[row % 3][row / 3], keys(&s.path("f.npy"))[row]);
    }
    let raw = embed(
        "images",
        &["id", "noise", "--output", "raw.npy", "--no-normalize"],
    );
    s.done(&raw);
    let length = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
    let raw = rows(&s.path("raw.npy"));
    for (row, unit) in raw.chunks_exact(dim).zip(whole.chunks_exact(dim)) {
        assert!((length(unit) - 1.0).abs() < 1e-5 && (length(row) - 1.0).abs() > 1e-3);
        assert!(
            row.iter()
                .zip(unit)
                .all(|(a, b)| (a / length(row) - b).abs() < 1e-5)
        );
    }
}

#[test]
fn the_keys_of_another_output_are_kept() {
    let s = Sandbox::new();
    s.done(&embed("images", &["id", "--output", "a.npy"]));
    let keys = std::fs::read(s.path("a.keys.jsonl")).unwrap();
    for more in [&[][..], &["--force"]] {
        let other = [&["noise", "--output", "a.safetensors"], more].concat();
        let output = s.clipn(&embed("images", &other));
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            error.contains("a.keys.jsonl already exists, of another output"),
            "{error}"
        );
        assert_eq!(std::fs::read(s.path("a.keys.jsonl")).unwrap(), keys);
        assert!(!s.path("a.safetensors").exists());
    }
    s.done(&embed("images", &["noise", "--output", "b.safetensors"]));
}

#[test]
fn a_wrong_path_begins_no_output() {
    let s = Sandbox::new();
    let output = s.clipn(&embed("images", &["nowhere", "--output", "a.npy"]));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot read nowhere"), "{error}");
    s.done(&embed("images", &["id", "nowhere", "--output", "a.npy"]));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_has_keys_and_features_in_one_table() {
    let s = Sandbox::new();
    s.done(&embed(
        "images",
        &["id", "--output", "f.npy", "--keys", "meta.parquet"],
    ));
    s.done(&embed("images", &["id", "--output", "f.parquet"]));
    assert_eq!(rows(&s.path("f.parquet")), rows(&s.path("f.npy")));
    std::fs::rename(s.path("meta.parquet"), s.path("f.keys.parquet")).unwrap();
    assert_eq!(keys(&s.path("f.parquet")), keys(&s.path("f.npy")));
    assert!(!s.path("f.parquet.partial").exists());
    for output in ["half.parquet", "half.npy"] {
        s.done(&embed(
            "images",
            &["id", "--output", output, "--dtype", "f16"],
        ));
    }
    assert_eq!(rows(&s.path("half.parquet")), rows(&s.path("half.npy")));
    assert_ne!(rows(&s.path("half.parquet")), rows(&s.path("f.parquet")));
}

#[test]
fn texts_are_encoded_line_by_line() {
    let s = Sandbox::new();
    s.write("texts.txt", "a photo of a pizza\n\na school bus\n");
    let output = s.clipn(&embed(
        "texts",
        &["texts.txt", "--output", "t.npy", "--format", "json"],
    ));
    assert!(text(&output.stderr).contains("warning: empty lines: 1 of 3"));
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&counts["rows"], &counts["failed"]), (&3.into(), &0.into()));
    assert_eq!(
        keys(&s.path("t.npy")),
        ["a photo of a pizza", "", "a school bus"]
    );
    // One template: the row of a class is the row of its sentence.
    s.write("template.txt", "a photo of a {}\n");
    s.write("one.txt", "pizza\n");
    s.done(&embed(
        "texts",
        &[
            "one.txt",
            "--templates",
            "template.txt",
            "--output",
            "c.npy",
        ],
    ));
    let (texts, class) = (rows(&s.path("t.npy")), rows(&s.path("c.npy")));
    assert!(texts.iter().zip(&class).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn wrong_features_are_refused_with_their_row() {
    let s = embedded();
    let mut bytes = std::fs::read(s.path("id.npy")).unwrap();
    let row = (bytes.len() - 128) / 12;
    bytes[128 + 3 * row..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    s.write("nan.npy", &bytes);
    s.write("narrow.npy", crate::metrics::npy_f32(&[1.0, 2.0]));
    s.write("few.txt", "0\n1\n");
    let eval = |id: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        let flags = ["eval", "--features", id, "--ood-features", "noise.npy"];
        [&flags[..], &TEXTS, more].concat()
    };
    let mut shown = String::new();
    for arguments in [
        eval("nan.npy", &[]),
        eval("narrow.npy", &[]),
        eval("id.npy", &["--labels", "few.txt"]),
        eval("missing.npy", &[]),
        eval("classes.txt", &[]),
        eval("id.npy", &["--near-ood", "far=noise"]),
        eval("id.npy", &["--data-root", "."]),
        eval("id.npy", &["--logit-scale", "trained"]),
        eval("id.npy", &["--classes", "a,b"]),
        vec![
            "eval",
            "--features",
            "id.npy",
            "--ood-features",
            "noise.npy",
        ],
        vec!["classify", "--features", "id.npy"],
        embed("images", &["id", "--output", "f.txt"]),
        embed("images", &["id", "--output", "id.npy"]),
        embed("images", &["classes.txt", "--output", "none.npy"]),
    ] {
        let output = s.clipn(&arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        shown += &transcript(&s, &arguments, &output);
    }
    assert_text("wrong_features", &shown);
    let output = s.clipn(&[&["classify", "--features", "nan.npy"][..], &TEXTS].concat());
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), 12);
    assert!(
        lines.contains("error: the row of features has NaN in column 0"),
        "{lines}"
    );
}

#[test]
fn features_that_are_known_and_unknown_are_warned_of() {
    let s = embedded();
    let stderr = |ood: &[&str]| {
        let flags = ["eval", "--features", "id=id.npy"];
        let ood = ood.iter().flat_map(|set| ["--ood-features", *set]);
        let output = s.clipn(&[&flags[..], &ood.collect::<Vec<_>>(), &TEXTS].concat());
        assert!(output.status.success());
        text(&output.stderr)
    };
    let both = stderr(&["same=./id.npy", "noise=noise.npy"]);
    assert!(
        both.contains("warning: id and same are the same file: they count as in-distribution"),
        "{both}"
    );
    let twice = stderr(&["a=noise.npy", "b=noise.npy"]);
    assert!(
        twice.contains("warning: a and b are the same file: means over sets count them twice"),
        "{twice}"
    );
    assert!(!stderr(&["noise=noise.npy"]).contains("same file"));
}

/// Names of classes that come with their features are checked as those of `--classes`.
#[test]
fn keys_of_text_features_are_class_names() {
    let s = embedded();
    for (texts, part) in [
        (
            "unknown\ncat\ndog\n",
            "class name `unknown` in named.safetensors, name 1 is reserved",
        ),
        ("cat\ndog\nCat\n", "duplicate class name"),
    ] {
        s.write("texts.txt", texts);
        let side = ["texts.txt", "--output", "named.safetensors", "--force"];
        s.done(&embed("texts", &side));
        let features = [
            "--features",
            "noise.npy",
            "--text-features",
            "named.safetensors",
        ];
        let refused = s.clipn(&[&["classify"][..], &features, &["--score", "mcm"]].concat());
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{texts:?}: {error}");
        assert!(error.contains(part), "{texts:?}: {error}");
    }
}

#[test]
fn a_complete_output_is_one_of_the_inputs_that_there_are() {
    let s = Sandbox::new();
    let resumed = |what: &str, more: &[&str]| {
        let output = s.clipn(&embed(what, &[more, &["--resume"]].concat()));
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let images = ["noise", "--output", "noise.npy"];
    s.done(&embed("images", &images));
    let (code, said) = resumed("images", &images);
    assert!(code == Some(0) && said.contains("is complete"), "{said}");
    s.image("noise/new.bmp", 9, 9, |x, y| [x as u8, y as u8, 7]);
    let (code, said) = resumed("images", &images);
    assert!(
        code == Some(2) && said.contains("complete with 5 inputs, but there are 6 inputs now"),
        "{said}"
    );

    s.write("lines.txt", "a photo of a {}.");
    let texts = [
        "classes.txt",
        "--templates",
        "lines.txt",
        "--output",
        "yes.npy",
    ];
    s.done(&embed("texts", &texts));
    let before = std::fs::read(s.path("yes.npy")).unwrap();
    let (code, said) = resumed("texts", &texts);
    assert!(code == Some(0) && said.contains("is complete"), "{said}");
    let classes = std::fs::read(s.path("classes.txt")).unwrap();
    s.write("classes.txt", "goldfish\nbus\npizza\n");
    let (code, said) = resumed("texts", &texts);
    assert!(
        code == Some(2) && said.contains("row 2 is of school bus, but the input is now bus"),
        "{said}"
    );
    s.write("classes.txt", &classes);
    s.write("lines.txt", "a drawing of a {}.");
    let (code, said) = resumed("texts", &texts);
    assert!(
        code == Some(2) && said.contains("checksum of the templates"),
        "{said}"
    );
    assert_eq!(std::fs::read(s.path("yes.npy")).unwrap(), before);
}
