//! `--precision int8`.

use serde_json::Value;

use crate::common::{Sandbox, text};

const CLASSES: [&str; 2] = ["--classes", "red, gradient"];

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    serde_json::from_str(&sandbox.done(&[arguments, &["--format", "json"]].concat())).unwrap()
}

fn model() -> [&'static str; 4] {
    ["--model", "tiny.json", "--pretrained", "epoch_10.pt"]
}

#[test]
fn a_quantized_file_gives_the_rows_of_its_source_in_int8() {
    let sandbox = Sandbox::new();
    let convert = ["convert", "--model", "tiny.json", "--dtype", "int8"];
    let table = sandbox.done(&[&convert[..], &["epoch_10.pt", "int8.safetensors"]].concat());
    assert!(table.contains(" i8"), "{table}");
    let size = |name: &str| std::fs::metadata(sandbox.path(name)).unwrap().len();
    assert!(size("int8.safetensors") < size("epoch_10.pt"));
    let common = [
        &["classify", "--templates", "simple"][..],
        &CLASSES,
        &["--format", "json"],
    ]
    .concat();
    let rows = |weights: &[&str], precision: &str| {
        let precision = ["--precision", precision, "photos"];
        sandbox.done(&[&common[..], weights, &precision].concat())
    };
    let in_int8 = rows(&model(), "int8");
    assert_ne!(in_int8, rows(&model(), "f32"));
    let stored = ["--pretrained", "int8.safetensors"];
    assert_eq!(rows(&stored, "int8"), in_int8);
}

#[test]
fn inspect_compares_a_precision_with_f32_on_images() {
    let sandbox = Sandbox::new();
    let compare = [
        "inspect",
        "epoch_10.pt",
        "--model",
        "tiny.json",
        "--precision",
        "int8",
        "--images",
        "photos",
    ];
    let found = json(&sandbox, &compare)["precision"].clone();
    let number = |key: &str| found[key].as_f64().unwrap();
    assert_eq!(found["precision"], "int8");
    assert!(number("images") >= 2.0);
    assert!(number("least_cosine") <= number("mean_cosine") && number("mean_cosine") <= 1.0);
    assert!(number("least_cosine") > 0.5, "{found}");
    let more = [&compare[..], &CLASSES, &["--ood", "photos"]].concat();
    let found = json(&sandbox, &more)["precision"].clone();
    assert!(found["same_labels"].is_u64(), "{found}");
    let scores = found["scores"].as_array().unwrap();
    assert!(scores.iter().any(|row| row["score"] == "msp"), "{found}");
    let table = sandbox.done(&more);
    assert!(
        table.contains("cosine to f32") && table.contains("AUROC f32"),
        "{table}"
    );
}

#[test]
fn other_formats_and_unknown_names_are_refused() {
    let sandbox = Sandbox::new();
    let convert = [
        "convert",
        "--dtype",
        "int8",
        "--to",
        "open-clip",
        "--model",
        "tiny.json",
    ];
    let refused = [
        (
            [&convert[..], &["epoch_10.pt", "out"]].concat(),
            "--dtype int8 needs --to clipn",
        ),
        (
            vec![
                "classify",
                "--classes",
                "a,b",
                "--precision",
                "fp8",
                "photos",
            ],
            "unknown precision `fp8`",
        ),
    ];
    for (arguments, message) in refused {
        let output = sandbox.clipn(&arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(message), "{error}");
    }
}
