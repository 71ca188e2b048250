//! `clipn inspect`.

use crate::common::{Sandbox, library_fixture};
use serde_json::Value;

#[test]
fn shows_the_no_side_of_clipn_weights() {
    let sandbox = Sandbox::new();
    let out = sandbox.done(&["inspect", "epoch_10.pt"]);
    for part in [
        "safetensors",
        "92 (92 f16)",
        "ViT, width 32, 2 blocks, patch size 32, image size 224",
        "16 \"no\" prompts",
    ] {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
    assert!(!out.contains("visual.conv1.weight"));
    assert!(
        sandbox
            .done(&["inspect", "epoch_10.pt", "--tensors"])
            .contains("visual.conv1.weight")
    );
}

#[test]
fn shows_that_a_plain_clip_has_no_no_side() {
    let sandbox = Sandbox::new();
    let file = library_fixture("checkpoint/plain_clip.pt");
    let out = sandbox.done(&["inspect", file.to_str().unwrap()]);
    assert!(
        out.contains("PyTorch .pt (zip)") && out.contains("none: a plain CLIP"),
        "{out}"
    );
}

#[test]
fn json_and_csv_list_every_tensor() {
    let sandbox = Sandbox::new();
    let report: Value =
        serde_json::from_str(&sandbox.done(&["inspect", "epoch_10.pt", "--format", "json"]))
            .unwrap();
    assert_eq!(report["tensors"].as_array().unwrap().len(), 92);
    assert_eq!(report["architecture"]["no_prompts"], 16);
    assert_eq!(
        sandbox
            .done(&["inspect", "epoch_10.pt", "--format", "csv"])
            .lines()
            .count(),
        93
    );
}

#[test]
fn shows_config_and_preprocessing_of_weights() {
    let sandbox = Sandbox::new();
    sandbox.write_other_formats();
    for (given, parts) in [
        (
            "openai.pt",
            &[
                "OpenAI's CLIP",
                "TorchScript archive",
                "QuickGELU, 2 heads in the image tower",
                "32 × 32",
            ][..],
        ),
        (
            "clip-transformers",
            &[
                "transformers CLIPModel",
                "shown as open_clip's",
                "GELU, 2 heads",
                "224 × 224, mean [0.48145467",
            ],
        ),
        (
            "clip-open-clip",
            &["open_clip hub", "GELU, 2 heads", "mean [0.5, 0.5, 0.5]"],
        ),
        (
            "logs/tiny/checkpoints/epoch-10",
            &["training checkpoint", "16 \"no\" prompts", "GELU, 2 heads"],
        ),
        (
            "epoch_10.pt",
            &["weights alone", "none comes with the weights"],
        ),
    ] {
        let out = sandbox.done(&["inspect", given]);
        for part in parts {
            assert!(out.contains(part), "no {part:?} in {out}");
        }
    }
    sandbox.write(
        "clip-transformers/config.json",
        r#"{"model_type": "siglip"}"#,
    );
    let out = sandbox.done(&["inspect", "clip-transformers"]);
    assert!(
        out.contains("config      not usable") && out.contains("siglip"),
        "{out}"
    );
    let report: Value =
        serde_json::from_str(&sandbox.done(&["inspect", "clip-open-clip", "--format", "json"]))
            .unwrap();
    assert_eq!(report["source"], "open_clip hub");
    assert_eq!(report["config"]["vision"]["heads"], 2);
    assert_eq!(
        report["preprocessing"]["mean"],
        serde_json::json!([0.5, 0.5, 0.5])
    );
    assert_eq!(report["config_error"], Value::Null);
}
