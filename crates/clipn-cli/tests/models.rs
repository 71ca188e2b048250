//! `clipn models`.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::model::ModelConfig;
use common::{Sandbox, text};
use serde_json::Value;

#[test]
fn every_architecture_is_a_row() {
    let s = Sandbox::new();
    let table = s.done(&["models"]);
    let row = |name: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {table}")).split_whitespace().map(str::to_owned).collect()
    };
    ModelConfig::names().for_each(|name| drop(row(name)));
    let b32 = ["ViT-B-32", "224", "87.85", "M", "63.43", "M", "64.06", "M", "8.82", "5.96", "512", "77"];
    assert_eq!(row("ViT-B-32"), b32);
    let csv = s.done(&["models", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 1 + ModelConfig::names().count());
    assert!(csv.starts_with("name,image_size,image_parameters,yes_parameters,no_parameters,"), "{csv}");
    assert!(csv.contains("\nRN50,224,38316896,63690240,64321024,12.22"), "{csv}");
    let json: Value = serde_json::from_str(&s.done(&["models", "--format", "json"])).unwrap();
    let all = json.as_array().unwrap();
    assert_eq!(all.len(), ModelConfig::names().count());
    let l14 = all.iter().find(|one| one["name"] == "ViT-L-14").unwrap();
    assert_eq!(l14["clip_parameters"], 427_616_513);
    assert_eq!(l14["embed_dim"], 768);
}

#[test]
fn one_architecture_in_detail() {
    let s = Sandbox::new();
    let told = s.done(&["models", "ViT-B/32"]);
    for part in [
        "model       ViT-B-32\n",
        "activation  GELU",
        "ViT, width 768, 12 blocks, 12 heads, hidden layers of 3072, patches of 32, images of 224 pixels",
        "width 512, 12 blocks, 8 heads, hidden layers of 2048, 77 positions, 49408 ids",
        "CLIP        151,277,313 parameters: image 87,849,216, text 63,428,096, logit scale 1",
        "CLIPN       215,336,193 parameters",
        "861.34 MB in f32, 430.67 MB in f16",
        "8.82 GFLOP an image, 5.96 GFLOP a text of 77 tokens",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert!(!told.contains("statistics"));
    let resnet = s.done(&["models", "RN50-quickgelu"]);
    for part in ["QuickGELU", "ModifiedResNet, width 64, 3 + 4 + 6 + 3 blocks", "statistics  53,248 numbers"]
    {
        assert!(resnet.contains(part), "no {part:?} in {resnet}");
    }
    assert_eq!(s.done(&["models", "RN50", "--format", "csv"]).lines().count(), 2);
}

#[test]
fn a_config_of_ones_own_and_weights_that_tell_theirs() {
    let s = Sandbox::new();
    s.other_programs_weights();
    let of = |given: &str| -> Value {
        serde_json::from_str(&s.done(&["models", given, "--format", "json"])).unwrap()
    };
    let own = of("tiny.json");
    assert_eq!(own["clipn_parameters"], 1_774_657);
    for given in ["clip-transformers", "clip-open-clip", "logs/tiny/checkpoints/epoch-10"] {
        assert_eq!(of(given)["config"], own["config"], "{given}");
    }
    // What is told is a config that can be given.
    s.write("told.json", own["config"].to_string());
    assert_eq!(of("told.json")["config"], own["config"]);
}

#[test]
fn what_is_no_architecture_is_told() {
    let s = Sandbox::new();
    for (given, part) in [("ViT-Z-1", "known models: ViT-S-32"), ("classes.txt", "not valid JSON")] {
        let output = s.clipn(&["models", given]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.starts_with("error: ") && error.contains(given) && error.contains(part), "{error}");
    }
    let output = s.clipn(&["models", "epoch_10.pt"]);
    assert!(text(&output.stderr).contains("do not tell their architecture"), "{}", text(&output.stderr));
}
