//! Weights by name from a local hub, on the compiled program.

use std::process::Output;

use crate::common::hub::{Reply, Server};
use crate::common::{Sandbox, is_error_report, text};
use serde_json::Value;

const CLASSIFY: [&str; 8] = [
    "classify",
    "--classes",
    "classes.txt",
    "--templates",
    "simple",
    "--format",
    "csv",
    "photos",
];

/// An endpoint that refuses connections.
const NOWHERE: &str = "http://127.0.0.1:1";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_other_formats();
    sandbox
}

fn run(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Output {
    sandbox.command(endpoint, arguments).output().unwrap()
}

/// Standard output and standard error of a run that must succeed.
#[track_caller]
fn done(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> (String, String) {
    let output = run(sandbox, endpoint, arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    (text(&output.stdout), text(&output.stderr))
}

/// Runs, and checks the exit code and that the error report contains every part.
#[track_caller]
fn fails(sandbox: &Sandbox, endpoint: &str, code: i32, arguments: &[&str], parts: &[&str]) {
    let output = run(sandbox, endpoint, arguments);
    let error = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {error}{}",
        text(&output.stdout)
    );
    assert!(is_error_report(&error), "{arguments:?}: {error}");
    assert!(
        parts.iter().all(|part| error.contains(part)),
        "{arguments:?}: {parts:?} in {error}"
    );
}

#[test]
fn inspects_a_repository_and_then_again_offline() {
    let s = sandbox();
    let server = s.hub(&[
        ("test/tiny", "clip-open-clip"),
        ("test/clipn", "logs/tiny/checkpoints/epoch-10"),
    ]);
    let url = server.url();
    let name = "hf-hub:test/tiny";
    fails(
        &s,
        &url,
        1,
        &["inspect", name, "--offline"],
        &["hf-hub:test/tiny is not in the cache", "--offline"],
    );
    assert_eq!(server.seen(), []);
    fails(
        &s,
        NOWHERE,
        1,
        &["inspect", name],
        &["cannot reach 127.0.0.1:1"],
    );

    let (out, err) = done(&s, &url, &["inspect", name]);
    for part in [
        "open_clip hub",
        "GELU, 2 heads",
        "mean [0.5, 0.5, 0.5]",
        "hf-home/hub/models--test--tiny/snapshots/",
        "config      tiny: ",
    ] {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
    assert_eq!(err, "");
    server.seen();
    assert_eq!(
        done(&s, &url, &["inspect", name, "--offline"]),
        (out.clone(), String::new())
    );
    let variable = s
        .command(&url, &["inspect", name])
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert_eq!(
        (text(&variable.stdout), variable.status.code()),
        (out.clone(), Some(0))
    );
    assert_eq!(server.seen(), []);
    let (same, err) = done(&s, NOWHERE, &["inspect", name]);
    assert_eq!(same, out);
    assert!(
        err.starts_with("warning: hf-hub:test/tiny: using the cached copy"),
        "{err}"
    );

    let report: Value = serde_json::from_str(
        &done(
            &s,
            &url,
            &["inspect", "hf-hub:test/clipn", "--format", "json"],
        )
        .0,
    )
    .unwrap();
    assert_eq!(
        (&report["source"], &report["file"]),
        (&"training checkpoint".into(), &"hf-hub:test/clipn".into())
    );
    // A file alone: the config beside it in the cache belongs to it.
    let (out, _) = done(
        &s,
        &url,
        &[
            "inspect",
            "hf-hub:test/tiny/open_clip_model.safetensors@main",
        ],
    );
    assert!(out.contains("open_clip hub"), "{out}");
}

#[test]
fn every_command_takes_repositories_and_tags() {
    let s = sandbox();
    let server = s.hub(&[
        ("test/tiny", "clip-open-clip"),
        ("test/hf", "clip-transformers"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "clip-open-clip"),
        (
            "timm/vit_base_patch32_clip_224.laion400m_e32",
            "clip-open-clip",
        ),
    ]);
    let url = server.url();
    let classify = |model: &[&str]| done(&s, &url, &[&CLASSIFY[..], model].concat());
    let (rows, _) = classify(&["--pretrained", "clip-open-clip"]);
    for model in [
        &["--pretrained", "hf-hub:test/tiny"][..],
        &["--model", "hf-hub:test/tiny"],
        &["--model", "tiny.json", "--pretrained", "hf-hub:test/tiny"],
        &["--model", "ViT-B-32", "--pretrained", "laion2b_s34b_b79k"],
        &[
            "--model",
            "ViT-B/32",
            "--pretrained",
            "laion2b-s34b-b79k",
            "--offline",
        ],
    ] {
        let (out, err) = classify(model);
        assert_eq!(out, rows, "{model:?}");
        assert!(err.is_empty(), "{err}");
    }
    assert_eq!(
        classify(&["--pretrained", "hf-hub:test/hf"]).0,
        classify(&["--pretrained", "clip-transformers"]).0
    );
    let (_, err) = classify(&["--model", "ViT-B-32", "--pretrained", "laion400m_e32"]);
    assert!(
        err.contains("laion400m_e32 weights use QuickGELU; opening them as ViT-B-32-quickgelu"),
        "{err}"
    );
    done(
        &s,
        &url,
        &["inspect", "--model", "ViT-B-32", "laion2b_s34b_b79k"],
    );

    let sets = [
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--templates",
        "simple",
        "--format",
        "json",
    ];
    let (out, _) = done(
        &s,
        &url,
        &[&["eval", "--pretrained", "hf-hub:test/tiny"], &sets[..]].concat(),
    );
    let settings = &serde_json::from_str::<Value>(&out).unwrap()["settings"];
    assert_eq!(settings["pretrained"], "hf-hub:test/tiny");
    assert!(
        settings["weights"]
            .as_str()
            .unwrap()
            .contains("models--test--tiny/snapshots/"),
        "{settings}"
    );

    s.training_set();
    let train = [
        "train",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "16",
        "--epochs",
        "1",
    ];
    let (out, _) = done(
        &s,
        &url,
        &[&train[..], &["--pretrained", "hf-hub:test/hf"]].concat(),
    );
    assert!(out.starts_with("logs/clipn-hf/"), "{out}");
    let (out, _) = done(
        &s,
        &url,
        &[
            &train[..],
            &["--model", "hf-hub:test/hf", "--offline", "--name", "again"],
        ]
        .concat(),
    );
    assert!(out.starts_with("logs/again/"), "{out}");
    done(
        &s,
        &url,
        &[
            &train[..],
            &[
                "--pretrained",
                "hf-hub:test/hf",
                "--resume",
                "latest",
                "--offline",
            ],
        ]
        .concat(),
    );

    let bench = ["bench", "image", "--quick", "--format", "json"];
    done(
        &s,
        &url,
        &[&bench[..], &["--model", "hf-hub:test/tiny"]].concat(),
    );
}

#[test]
fn rejects_wrong_names() {
    let s = sandbox();
    let server = Server::start(|_| Reply::new(401));
    let url = server.url();
    let with = |code, model: &[&str], parts: &[&str]| {
        fails(&s, &url, code, &[&CLASSIFY[..], model].concat(), parts);
    };
    with(
        2,
        &["--pretrained", "laion2b_s34b_b88k"],
        &["--model", "ViT-B-16, ViT-g-14"],
    );
    with(
        2,
        &["--model", "ViT-B-16"],
        &["give --pretrained too", "hf-hub:OWNER/NAME", "clipn-mini"],
    );
    with(
        2,
        &["--model", "hf-hub:a/b", "--pretrained", "epoch_10.pt"],
        &["leave one of them out"],
    );
    with(
        2,
        &["--pretrained", "hf-hub:../../etc"],
        &["invalid weights name", "hf-hub:OWNER/NAME"],
    );
    with(2, &["--pretrained", "hf-hub:tiny"], &["missing owner"]);
    with(
        1,
        &["--model", "ViT-B-16", "--pretrained", "laion3b"],
        &["no file `laion3b`", "datacomp_xl_s13b_b90k"],
    );
    with(
        1,
        &["--model", "ViT-B-16", "--pretrained", "nowhere.pt"],
        &["nowhere.pt"],
    );
    assert_eq!(server.seen(), []);
    with(
        1,
        &["--pretrained", "hf-hub:test/tiny"],
        &["no such repository, or it is private", "HF_TOKEN"],
    );
    fails(
        &s,
        "ftp://x",
        1,
        &["inspect", "hf-hub:test/tiny"],
        &["HF_ENDPOINT"],
    );
}
