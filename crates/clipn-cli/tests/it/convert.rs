//! `clipn convert`.

use std::collections::BTreeMap;

use crate::common::{Sandbox, is_error_report, library_fixture, text};
use clipn::checkpoint::{Checkpoint, Dtype, Tensor, write_safetensors};
use serde_json::Value;

fn names(sandbox: &Sandbox) -> Vec<String> {
    let entries = std::fs::read_dir(sandbox.root()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Fails with the exit code and an error report that contains every part, prints nothing and leaves
/// the directory unchanged.
#[track_caller]
fn fails(sandbox: &Sandbox, code: i32, arguments: &[&str], parts: &[&str]) {
    let before = names(sandbox);
    let output = sandbox.clipn(&[&["convert"], arguments].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(is_error_report(&error), "{arguments:?}: {error}");
    for part in parts {
        assert!(
            error.contains(part),
            "{arguments:?}: no {part:?} in {error}"
        );
    }
    assert!(output.stdout.is_empty());
    assert_eq!(names(sandbox), before, "{arguments:?}");
}

const TINY: [&str; 3] = ["--model", "tiny.json", "epoch_10.pt"];

fn classify<'a>(model: &[&'a str], score: &'a str) -> Vec<&'a str> {
    let decided = [
        "--classes",
        "classes.txt",
        "--score",
        score,
        "--threshold",
        "0",
        "--format",
        "json",
    ];
    [
        &["classify", "--templates", "simple"],
        model,
        &decided,
        &["photos"],
    ]
    .concat()
}

#[test]
fn a_converted_file_needs_no_model_flag_and_gives_equal_results() {
    let s = Sandbox::new();
    let stdout = s.done(&[&["convert"], &TINY[..], &["taught.safetensors"]].concat());
    for part in [
        "read        epoch_10.pt",
        "source      weights alone",
        "kind        safetensors",
        "model       tiny",
        "format      a safetensors file with its config",
        "wrote       taught.safetensors (3.56 MB)",
        "tensors     92 (92 f16)",
        "parameters  1,774,657 (image 141,856, yes 806,544, no 826,256)",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    let before = s.done(&classify(
        &["--model", "tiny.json", "--pretrained", "epoch_10.pt"],
        "atd",
    ));
    let after = s.done(&classify(&["--pretrained", "taught.safetensors"], "atd"));
    assert!(
        before == after && before.lines().count() == 2,
        "{before}{after}"
    );
    let inspected = s.done(&["inspect", "taught.safetensors"]);
    for part in [
        "weights with their config",
        "model       tiny",
        "config      tiny: GELU, 2 heads",
    ] {
        assert!(inspected.contains(part), "no {part:?} in {inspected}");
    }
    assert!(!inspected.contains("model_cfg"), "{inspected}");
    let other = s.clipn(&classify(
        &["--model", "ViT-B-32", "--pretrained", "taught.safetensors"],
        "atd",
    ));
    assert!(
        text(&other.stderr).contains("`ViT-B-32` differs"),
        "{}",
        text(&other.stderr)
    );
}

#[test]
fn directories_for_other_programs_contain_the_clip_and_report_the_rest() {
    let s = Sandbox::new();
    s.write_other_formats();
    for (to, made, prepared, files) in [
        (
            "open-clip",
            "oc",
            "clip-open-clip",
            &["open_clip_model.safetensors", "open_clip_config.json"][..],
        ),
        (
            "transformers",
            "hf",
            "clip-transformers",
            &[
                "model.safetensors",
                "config.json",
                "preprocessor_config.json",
                "processor_config.json",
            ],
        ),
    ] {
        let output = s.clipn(&[&["convert", "--to", to], &TINY[..], &[made]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = "note: left out: the \"no\" side (30 tensors, 826256 parameters), which CLIP does not have\n";
        assert_eq!(text(&output.stderr), said);
        let stdout = text(&output.stdout);
        assert!(
            files
                .iter()
                .all(|file| stdout.contains(&format!("wrote       {made}/{file} ("))),
            "{stdout}"
        );
        assert!(stdout.contains("yes 806,544, no \"no\" side)"), "{stdout}");
        if to == "transformers" {
            // The directory that the tests write independently gives equal results.
            let decided = |folder| s.done(&classify(&["--pretrained", folder], "maxlogit"));
            assert_eq!(decided(made), decided(prepared));
        }
        let found = |folder: &str| {
            let mut tensors = BTreeMap::new();
            for (name, tensor) in Checkpoint::open(s.path(folder)).unwrap().iter() {
                tensors.insert(name.to_owned(), tensor.to_f32().to_vec());
            }
            tensors
        };
        assert!(found(made) == found(prepared), "{to}");
    }
}

#[test]
fn weights_with_config_are_converted_without_a_model_flag() {
    let s = Sandbox::new();
    s.write_other_formats();
    let resnet = library_fixture("openai_resnet/openai_resnet.pt");
    for (index, (given, source)) in [
        ("openai.pt", "OpenAI's CLIP"),
        ("clip-transformers", "transformers CLIPModel"),
        ("clip-open-clip", "open_clip hub"),
        ("logs/tiny/checkpoints/epoch-10", "training checkpoint"),
        (resnet.to_str().unwrap(), "OpenAI's CLIP"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("{index}.safetensors");
        let report: Value =
            serde_json::from_str(&s.done(&["convert", given, &out, "--format", "json"])).unwrap();
        assert_eq!(
            (&report["source"], &report["to"]),
            (&source.into(), &"clipn".into())
        );
        assert_eq!(report["written"][0]["path"], out.as_str());
        assert_eq!(
            report["written"][0]["bytes"],
            std::fs::metadata(s.path(&out)).unwrap().len()
        );
        let inspected: Value =
            serde_json::from_str(&s.done(&["inspect", &out, "--format", "json"])).unwrap();
        assert_eq!(inspected["source"], "weights with their config");
        assert_eq!(inspected["config_error"], Value::Null);
        let before: Value =
            serde_json::from_str(&s.done(&["inspect", given, "--format", "json"])).unwrap();
        assert_eq!(inspected["config"], before["config"]);
        let counted = &report["parameters"];
        let sum: u64 = ["image", "yes", "no", "logit_scale", "statistics"]
            .map(|part| counted[part].as_u64().unwrap())
            .iter()
            .sum();
        assert_eq!(sum, inspected["parameters"].as_u64().unwrap());
    }
    let csv = s.done(&[
        "convert",
        "openai.pt",
        "hub",
        "--to",
        "open-clip",
        "--format",
        "csv",
    ]);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        lines.len() == 3
            && lines[0] == "file,bytes"
            && lines[2].starts_with("hub/open_clip_config.json,")
    );
}

#[test]
fn converts_element_types() {
    let s = Sandbox::new();
    for (name, dtype) in [
        ("f32", Dtype::F32),
        ("bf16", Dtype::Bf16),
        ("keep", Dtype::F16),
    ] {
        let out = format!("{name}.safetensors");
        s.done(&[&["convert", "--dtype", name], &TINY[..], &[&out]].concat());
        let found = Checkpoint::open(s.path(&out)).unwrap();
        assert!(
            found.iter().all(|(_, tensor)| tensor.dtype() == dtype),
            "{name}"
        );
    }
    // A scale beyond the range of f16.
    let from = Checkpoint::open(s.path("f32.safetensors")).unwrap();
    let large =
        |name: &str| (name == "logit_scale").then(|| Tensor::from_f32(&[], vec![7e4]).unwrap());
    let tensors = from
        .iter()
        .map(|(name, tensor)| (name.to_owned(), large(name).unwrap_or(tensor.clone())));
    write_safetensors(s.path("large.safetensors"), tensors, &BTreeMap::new()).unwrap();
    let large = [
        "--model",
        "tiny.json",
        "large.safetensors",
        "small.safetensors",
        "--dtype",
        "f16",
    ];
    fails(
        &s,
        1,
        &large,
        &["logit_scale", "70000", "65504", "small.safetensors"],
    );
    fails(
        &s,
        1,
        &[&large[..], &["--to", "transformers"]].concat(),
        &["logit_scale", "70000"],
    );
}

#[test]
fn keeps_existing_outputs_without_force() {
    let s = Sandbox::new();
    s.done(&[&["convert"], &TINY[..], &["taught.safetensors"]].concat());
    s.done(&["convert", "taught.safetensors", "hub", "--to", "open-clip"]);
    fails(
        &s,
        2,
        &[&TINY[..], &["taught.safetensors"]].concat(),
        &["taught.safetensors", "already exists"],
    );
    fails(
        &s,
        2,
        &["taught.safetensors", "hub", "--to", "open-clip"],
        &["hub already exists"],
    );
    s.done(
        &[
            &["convert", "--force", "--dtype", "f32"],
            &TINY[..],
            &["taught.safetensors"],
        ]
        .concat(),
    );
    s.done(&[
        "convert",
        "taught.safetensors",
        "hub",
        "--to",
        "transformers",
        "--force",
    ]);
    assert!(
        s.done(&["inspect", "hub"])
            .contains("transformers CLIPModel")
    );
    fails(
        &s,
        1,
        &[
            "taught.safetensors",
            "photos",
            "--to",
            "open-clip",
            "--force",
        ],
        &["photos", "would be lost"],
    );
    fails(
        &s,
        1,
        &["taught.safetensors", "classes.txt", "--force"],
        &["classes.txt", "not a weights file"],
    );
}

#[test]
fn rejects_equal_input_and_output() {
    let s = Sandbox::new();
    s.done(&[&["convert"], &TINY[..], &["taught.safetensors"]].concat());
    for more in [&[][..], &["--force"]] {
        let same = [&["taught.safetensors", "./taught.safetensors"], more].concat();
        fails(&s, 1, &same, &["taught.safetensors is also an input"]);
    }
    s.done(&["convert", "taught.safetensors", "hub", "--to", "open-clip"]);
    fails(
        &s,
        1,
        &["hub", "hub", "--to", "transformers", "--force"],
        &["hub is also an input"],
    );
}

#[test]
fn rejects_unusable_inputs_and_outputs() {
    let s = Sandbox::new();
    s.write_other_formats();
    let whole = std::fs::read(s.path("epoch_10.pt")).unwrap();
    s.write("half.pt", &whole[..whole.len() / 2]);
    let archive = std::fs::read(s.path("openai.pt")).unwrap();
    s.write("half-archive.pt", &archive[..archive.len() / 2]);
    let out = "out.safetensors";
    fails(&s, 1, &["gone.pt", out], &["gone.pt"]);
    fails(
        &s,
        1,
        &["--model", "tiny.json", "half.pt", out],
        &["half.pt", "truncated"],
    );
    fails(&s, 1, &["half-archive.pt", out], &["half-archive.pt"]);
    fails(
        &s,
        1,
        &["classes.txt", out],
        &["classes.txt", "unrecognized weights file format"],
    );
    fails(
        &s,
        1,
        &["epoch_10.pt", out],
        &["unknown architecture", "epoch_10.pt"],
    );
    fails(
        &s,
        1,
        &["--model", "ViT-B-32", "epoch_10.pt", out],
        &["do not fit the model `ViT-B-32`"],
    );
    fails(
        &s,
        1,
        &["--model", "ViT-B-32", "openai.pt", out],
        &["`ViT-B-32` differs"],
    );
    fails(
        &s,
        1,
        &["openai.pt", "gone/out.safetensors"],
        &["directory gone does not exist"],
    );
    fails(
        &s,
        1,
        &["openai.pt", "photos"],
        &["photos", "a directory has this name"],
    );
    fails(&s, 1, &["openai.pt", "out.pt"], &["out.pt", ".safetensors"]);
    fails(
        &s,
        1,
        &["openai.pt", "classes.txt", "--to", "open-clip"],
        &["classes.txt", "expected a directory, got a file"],
    );
    let resnet = library_fixture("openai_resnet/openai_resnet.pt");
    let resnet = resnet.to_str().unwrap();
    fails(
        &s,
        1,
        &[resnet, "out", "--to", "transformers"],
        &["`openai_resnet`", "ResNet"],
    );
    fails(&s, 2, &["openai.pt"], &["OUT"]);
    fails(
        &s,
        2,
        &["openai.pt", out, "--to", "onnx"],
        &[
            "onnx",
            "clipn, open-clip, transformers, transformers-4, transformers-5",
        ],
    );
    fails(
        &s,
        2,
        &["openai.pt", out, "--dtype", "int4"],
        &["int4", "bf16"],
    );
    s.write(
        "clip-transformers/preprocessor_config.json",
        r#"{"resample": 2}"#,
    );
    fails(
        &s,
        1,
        &["clip-transformers", out],
        &["preprocessor_config.json", "`resample` = 2"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn reports_an_unwritable_output() {
    let s = Sandbox::new();
    s.write_other_formats();
    for to in ["clipn", "open-clip", "transformers"] {
        fails(
            &s,
            1,
            &["openai.pt", "/proc/clipn-out", "--to", to],
            &["cannot ", "/proc/clipn-out"],
        );
    }
}

/// Trains a CLIP from scratch and teaches it "no", one step each.
fn trained(s: &Sandbox) -> String {
    s.training_set();
    let common = [
        "train",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "48",
    ];
    let more = ["--epochs", "1", "--workers", "2"];
    let clip = s.done(
        &[
            &common[..],
            &more,
            &["--objective", "clip", "--name", "clip"],
        ]
        .concat(),
    );
    let no = [
        "--no-prompts",
        "2",
        "--pretrained",
        clip.trim(),
        "--name",
        "no",
    ];
    s.done(&[&common[..], &more, &no].concat())
        .trim()
        .to_owned()
}

#[test]
fn keeps_only_the_rows_of_seen_words() {
    let s = Sandbox::new();
    let weights = trained(&s);
    let with_photo = |weights: &str| {
        let arguments = [
            "classify",
            "--pretrained",
            weights,
            "--templates",
            "simple",
            "--score",
            "msp",
            "--threshold",
            "0",
        ];
        s.done(
            &[
                &arguments[..],
                &[
                    "--format",
                    "json",
                    "--classes",
                    "red picture, green, blue",
                    "photos",
                ],
            ]
            .concat(),
        )
    };
    // The template's `photo` was not in training, and its row is removed.
    s.write("of.txt", "a picture {}");
    let with_own = |weights: &str, more: &[&str]| {
        let arguments = [
            "classify",
            "--pretrained",
            weights,
            "--score",
            "msp",
            "--threshold",
            "0",
            "--format",
            "json",
        ];
        s.done(
            &[
                &arguments[..],
                more,
                &["--classes", "red, green, blue", "photos"],
            ]
            .concat(),
        )
    };
    let whole = s.clipn(&["convert", &weights, "whole.safetensors"]);
    let stderr = String::from_utf8_lossy(&whole.stderr);
    assert!(
        whole.status.success() && stderr.contains("--only-seen-words keeps the rows"),
        "{stderr}"
    );
    let stdout = s.done(&["convert", &weights, "seen.safetensors", "--only-seen-words"]);
    assert!(
        stdout.contains("format      a safetensors file with its config"),
        "{stdout}"
    );
    let size = |file: &str| std::fs::metadata(s.path(file)).unwrap().len();
    assert!(
        size("seen.safetensors") * 20 < size("whole.safetensors"),
        "{}",
        size("seen.safetensors")
    );
    let templates = ["--templates", "of.txt"];
    assert_eq!(
        with_own("seen.safetensors", &templates),
        with_own("whole.safetensors", &templates)
    );
    assert_ne!(
        with_photo("seen.safetensors"),
        with_photo("whole.safetensors")
    );

    // Other programs, and further training, get full tables.
    s.done(&["convert", "seen.safetensors", "hub", "--to", "open-clip"]);
    let table = |path: &str| {
        let table = Checkpoint::open(s.path(path))
            .unwrap()
            .get("token_embedding.weight")
            .unwrap()
            .to_f32();
        (table.len(), table.iter().filter(|v| **v != 0.0).count())
    };
    let (values, seen) = (table("hub"), table("seen.safetensors"));
    assert_eq!((values.0, values.1), (49_408 * 16, seen.1));
    s.done(&[
        "convert",
        "seen.safetensors",
        "again.safetensors",
        "--only-seen-words",
    ]);
    assert_eq!(table("again.safetensors"), seen);

    // The recorded templates and scale are the defaults.
    s.done(&[
        "convert",
        &weights,
        "own.safetensors",
        "--templates",
        "plain",
        "--logit-scale",
        "trained",
    ]);
    let own = with_own("own.safetensors", &[]);
    assert_eq!(
        own,
        with_own(
            "whole.safetensors",
            &["--templates", "plain", "--logit-scale", "trained"]
        )
    );
    assert_ne!(own, with_own("own.safetensors", &["--templates", "simple"]));
    assert_ne!(
        own,
        with_own("own.safetensors", &["--logit-scale", "published"])
    );
}

#[test]
fn only_seen_words_needs_weights_with_a_vocabulary() {
    let s = Sandbox::new();
    let out = "out.safetensors";
    fails(
        &s,
        1,
        &[&TINY[..], &[out, "--only-seen-words"]].concat(),
        &["no training vocabulary", "epoch_10.pt"],
    );
    fails(
        &s,
        1,
        &[&TINY[..], &[out, "--templates", "nice"]].concat(),
        &["nice", "plain"],
    );
    fails(
        &s,
        2,
        &[
            &TINY[..],
            &["out", "--to", "open-clip", "--templates", "plain"],
        ]
        .concat(),
        &["--to clipn"],
    );
}
