//! `clipn inspect`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Sandbox, library_fixture};
use serde_json::Value;

#[test]
fn a_clipn_file_is_told_with_its_no_side() {
    let sandbox = Sandbox::new();
    let out = sandbox.done(&["inspect", "epoch_10.pt"]);
    for part in [
        "safetensors",
        "92 (92 f16)",
        "ViT, width 32, 2 blocks, patches of 32, images of 224",
        "16 \"no\" prompts",
    ] {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
    assert!(!out.contains("visual.conv1.weight"));
    assert!(sandbox.done(&["inspect", "epoch_10.pt", "--tensors"]).contains("visual.conv1.weight"));
}

#[test]
fn a_plain_clip_is_told_to_have_none() {
    let sandbox = Sandbox::new();
    let file = library_fixture("checkpoint/plain_clip.pt");
    let out = sandbox.done(&["inspect", file.to_str().unwrap()]);
    assert!(out.contains("PyTorch .pt (zip)") && out.contains("none: a plain CLIP"), "{out}");
}

#[test]
fn json_and_csv_list_every_tensor() {
    let sandbox = Sandbox::new();
    let report: Value =
        serde_json::from_str(&sandbox.done(&["inspect", "epoch_10.pt", "--format", "json"])).unwrap();
    assert_eq!(report["tensors"].as_array().unwrap().len(), 92);
    assert_eq!(report["architecture"]["no_prompts"], 16);
    assert_eq!(sandbox.done(&["inspect", "epoch_10.pt", "--format", "csv"]).lines().count(), 93);
}
