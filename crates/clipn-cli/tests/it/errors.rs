//! Error reports as a user reads them: one snapshot for each kind of mistake.

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{MODEL, Sandbox};

/// Runs the commands, which must fail, and compares their reports with the snapshot.
#[track_caller]
fn reports(name: &str, sandbox: &Sandbox, commands: &[&[&str]]) {
    let transcripts: Vec<String> = commands
        .iter()
        .map(|arguments| {
            let output = sandbox.clipn(arguments);
            assert!(!output.status.success(), "{arguments:?} succeeded");
            transcript(sandbox, arguments, &output)
        })
        .collect();
    assert_text(&format!("error-{name}"), &transcripts.join("\n"));
}

const CLASSIFY: [&str; 5] = [
    "classify",
    "--model",
    "tiny.json",
    "--pretrained",
    "epoch_10.pt",
];

/// `clipn classify` with the tiny model, and these arguments.
fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CLASSIFY[..], &["--templates", "simple"], more].concat()
}

#[test]
fn arguments() {
    let s = &Sandbox::new();
    reports(
        "arguments",
        s,
        &[
            &["evaluate"],
            &[
                "classify",
                "--classes",
                "a,b",
                "--tresholds",
                "0.5",
                "photos",
            ],
            &["classify", "--classes", "a,b", "--top", "0", "photos"],
            &["eval", "--id", "id"],
            &classify(&["--classes", "a,b", "--score", "msp", "photos"]),
            &classify(&["--classes", "a,b", "--device", "tpu", "photos"]),
            &["models", "--quiet", "--verbose"],
        ],
    );
}

#[test]
fn paths() {
    let s = &Sandbox::new();
    std::fs::create_dir(s.path("empty")).unwrap();
    reports(
        "paths",
        s,
        &[
            &classify(&["--classes", "a,b", "empty"]),
            &classify(&["--classes", "a,b", "gone/*.jpg"]),
            &classify(&["--classes", "gone.txt", "photos"]),
            &["inspect", "gone.pt"],
            &["results", "show", "gone"],
            &["recipe", "gone.toml"],
            &["classify", "--bundle", "gone.clipn", "photos"],
        ],
    );
}

#[test]
fn a_truncated_image_becomes_a_row() {
    let s = &Sandbox::new();
    let image = std::fs::read(s.path("photos/red.bmp")).unwrap();
    s.write("cut/half.bmp", &image[..image.len() / 2]);
    s.write("cut/text.jpg", "this is text");
    let arguments = classify(&["--classes", "a,b", "cut"]);
    let table = transcript(s, &arguments, &s.clipn(&arguments));
    let strict = [&arguments[..], &["--strict"]].concat();
    let strict = transcript(s, &strict, &s.clipn(&strict));
    assert_text("error-image", &format!("{table}\n{strict}"));
}

#[test]
fn weights() {
    let s = &Sandbox::new();
    let whole = std::fs::read(s.path("epoch_10.pt")).unwrap();
    s.write("half.pt", &whole[..whole.len() / 2]);
    s.write("w.safetensors", &whole);
    s.write("empty.pt", "");
    s.write("text.pt", "these are no weights");
    s.write(
        "pointer.pt",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    );
    reports(
        "weights",
        s,
        &[
            &["inspect", "half.pt"],
            &["inspect", "empty.pt"],
            &["inspect", "text.pt"],
            &["inspect", "pointer.pt"],
            &["inspect", "photos"],
            &[
                "classify",
                "--pretrained",
                "epoch_10.pt",
                "--classes",
                "a,b",
                "photos",
            ],
            &[
                "classify",
                "--pretrained",
                "epoch_10.pt",
                "--model",
                "ViT-B-32",
                "--classes",
                "a,b",
                "photos",
            ],
            &[
                "convert",
                "w.safetensors",
                "w.safetensors",
                "--model",
                "tiny.json",
            ],
        ],
    );
}

#[test]
fn models() {
    let s = &Sandbox::new();
    s.write("broken.json", "{");
    reports(
        "models",
        s,
        &[
            &["models", "broken.json"],
            &[
                "classify",
                "--model",
                "ViT-B-16",
                "--classes",
                "a,b",
                "photos",
            ],
            &[
                "classify",
                "--model",
                "ViT-B-99",
                "--classes",
                "a,b",
                "photos",
            ],
            &["classify", "--bundle", "epoch_10.pt", "photos"],
        ],
    );
}

#[test]
fn classes() {
    let s = &Sandbox::new();
    let build = [
        &[
            "classifier",
            "build",
            "--out",
            "shop.clipn",
            "--templates",
            "simple",
        ],
        &MODEL[..],
        &["--classes", "classes.txt"],
    ];
    s.done(&build.concat());
    reports(
        "classes",
        s,
        &[
            &classify(&["--classes", "cat", "photos"]),
            &classify(&["--classes", "cat,,dog", "photos"]),
            &["classifier", "add", "shop.clipn", "--classes", "pizza"],
            &["classifier", "remove", "shop.clipn", "--classes", "zebra"],
            &build.concat(),
        ],
    );
}

#[test]
fn templates() {
    let s = &Sandbox::new();
    s.write("lines.txt", "a photo of a thing\n");
    s.write(
        "pairs.toml",
        "yes = [\"a {}\", \"the {}\"]\nno = [\"no {}\"]\n",
    );
    let with = |templates: &'static str| {
        [
            &CLASSIFY[..],
            &["--classes", "a,b", "photos", "--templates", templates],
        ]
        .concat()
    };
    let handcrafted = [&with("simple")[..], &["--variant", "handcrafted"]].concat();
    reports(
        "templates",
        s,
        &[
            &with("fancy"),
            &with("lines.txt"),
            &with("pairs.toml"),
            &handcrafted,
        ],
    );
}

#[test]
fn tables_and_benchmarks() {
    let s = &Sandbox::new();
    s.training_set();
    s.write("columns.csv", "image,text\na.jpg,a\n");
    s.write("broken.toml", "name = \"mine\"\n[id]\nfolder = 3\n");
    s.write("keys.toml", "name = \"mine\"\nsets = []\n");
    let train = |data: &'static str| {
        [
            "train",
            "--model",
            "small.json",
            "--objective",
            "clip",
            "--train-data",
            data,
        ]
    };
    let eval = |benchmark: &'static str| {
        [
            &["eval"],
            &MODEL[..],
            &["--benchmark", benchmark, "--data-root", "."],
        ]
        .concat()
    };
    reports(
        "tables",
        s,
        &[
            &train("columns.csv"),
            &train("gone.tsv"),
            &train("gone-{0..3}.tar"),
        ],
    );
    reports(
        "benchmarks",
        s,
        &[
            &eval("broken.toml"),
            &eval("keys.toml"),
            &eval("imagenet-9k"),
            &eval("tiny-imagenet-ood"),
            &[&["eval"], &MODEL[..], &["--id", "id", "--ood", "a=gone"]].concat(),
            &[
                &["eval"],
                &MODEL[..],
                &["--id", "noise", "--ood", "noise=noise"],
            ]
            .concat(),
        ],
    );
}

#[test]
fn resumed_outputs() {
    let s = &Sandbox::new();
    let rows = |more: &[&'static str]| {
        let output = ["--classes", "classes.txt", "--output", "rows.csv", "photos"];
        classify(&[&output[..], more].concat())
    };
    s.done(&rows(&[]));
    reports(
        "resume",
        s,
        &[
            &rows(&[]),
            &rows(&["--resume", "--top", "2"]),
            &rows(&["--resume", "noise"]),
        ],
    );
}

#[test]
fn training_runs() {
    let s = &Sandbox::new();
    s.training_set();
    s.write_other_formats();
    let train = |more: &[&'static str]| {
        let common = [
            "train",
            "--model",
            "small.json",
            "--train-data",
            "captions.tsv",
            "--objective",
            "clip",
        ];
        [&common[..], more].concat()
    };
    reports(
        "training",
        s,
        &[
            &train(&["--batch-size", "1"]),
            &train(&["--epochs", "0"]),
            &train(&["--batch-size", "8", "--resume", "photos"]),
            &train(&["--batch-size", "8", "--resume", "nowhere", "--logs", "none"]),
            &train(&["--crop-scale", "0.5,1", "--augmentation", "none"]),
            &[
                "train",
                "--model",
                "small.json",
                "--train-data",
                "captions.tsv",
            ],
            &["train", "--settings", "captions.tsv"],
            &train(&[
                "--batch-size",
                "8",
                "--resume",
                "logs/tiny/checkpoints/epoch-10",
            ]),
        ],
    );
    assert!(!s.path("none").exists(), "a wrong path begins no run");
}

#[test]
fn weights_by_name() {
    let s = &Sandbox::new();
    let with = |weights: &'static str| {
        [
            "classify",
            "--classes",
            "a,b",
            "photos",
            "--offline",
            "--pretrained",
            weights,
        ]
    };
    let tag = [&with("laion9b")[..], &["--model", "ViT-B-16"]].concat();
    reports(
        "names",
        s,
        &[
            &with("hf-hub:me/my-clipn"),
            &with("hf-hub:me"),
            &with("laion2b_s34b_b88k"),
            &tag,
        ],
    );
}

#[test]
fn calibration() {
    let s = &Sandbox::new();
    let build = [
        &[
            "classifier",
            "build",
            "--out",
            "shop.clipn",
            "--templates",
            "simple",
        ],
        &MODEL[..],
        &["--classes", "classes.txt"],
    ];
    s.done(&build.concat());
    let calibrate = ["calibrate", "--bundle", "shop.clipn", "--id"];
    reports(
        "calibration",
        s,
        &[
            &[&calibrate[..], &["id", "--target-tpr", "1.5"]].concat(),
            &[&calibrate[..], &["photos", "--target-tpr", "0.99"]].concat(),
            &[&calibrate[..], &["id", "--choice", "best"]].concat(),
            &[&calibrate[..], &["id", "--choice", "luck"]].concat(),
            &[
                "classify",
                "--bundle",
                "shop.clipn",
                "--fdr",
                "0.1",
                "photos",
            ],
        ],
    );
}

#[test]
fn merged_results_and_recipes() {
    let s = &Sandbox::new();
    s.write("results.json", "{}");
    s.write("other/results.json", "[");
    s.write(
        "r.toml",
        "[[steps]]\nname = \"a\"\ncommand = \"evaluate\"\n",
    );
    s.write(
        "keys.toml",
        "[[steps]]\nname = \"a\"\ncommand = \"eval\"\nflag = 1\n",
    );
    reports(
        "results",
        s,
        &[
            &["results", "show", "results.json"],
            &["results", "merge", "results.json", "other"],
            &["results", "merge", "other", "other"],
            &["recipe", "r.toml"],
            &["recipe", "keys.toml"],
        ],
    );
}

#[cfg(feature = "serve")]
#[test]
fn server() {
    let s = &Sandbox::new();
    s.write("keys.txt", "short\n");
    let serve = |more: &[&'static str]| {
        [
            &["serve"],
            &MODEL[..],
            &["--templates", "simple", "--classes", "a,b"],
            more,
        ]
        .concat()
    };
    reports(
        "server",
        s,
        &[
            &serve(&["--max-images", "1000"]),
            &serve(&["--api-keys-file", "keys.txt"]),
            &serve(&["--api-keys-file", "gone.txt"]),
            &serve(&["--port", "70000"]),
        ],
    );
}
