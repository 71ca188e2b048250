//! `clipn inspect`.

use crate::common::{Sandbox, library_fixture, test_data, text};
use clipn::checkpoint::{Checkpoint, Tensor, write_safetensors};
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

/// A CLIP in what training programs put around it: all have the tensors of `plain.pt`.
#[test]
fn models_in_wrapped_checkpoints_are_found() {
    let Some(files) = test_data("cases/formats/weights") else {
        return;
    };
    let sandbox = Sandbox::new();
    let convert = |name: &str| {
        let (model, input) = (files.join("tiny.json"), files.join(name));
        let model = model.to_str().unwrap();
        sandbox.done(&[
            "convert",
            "--model",
            model,
            "--force",
            input.to_str().unwrap(),
            "out.safetensors",
        ]);
        let checkpoint = Checkpoint::open(sandbox.path("out.safetensors")).unwrap();
        let tensors = checkpoint.iter().map(|(name, tensor)| {
            let values = tensor
                .to_f32()
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>();
            (name.to_owned(), values)
        });
        tensors.collect::<std::collections::BTreeMap<_, _>>()
    };
    let plain = convert("plain.pt");
    assert!(plain.len() >= 50, "{}", plain.len());
    for name in [
        "ema-averaged-model.pt",
        "compiled-blocks.pt",
        "accelerate-compile-regions.pt",
        "lightning.ckpt",
    ] {
        assert_eq!(convert(name), plain, "{name}");
    }
}

#[test]
fn models_beside_the_weights_are_named() {
    let sandbox = Sandbox::new();
    let weights = Checkpoint::open(sandbox.path("epoch_10.pt")).unwrap();
    let mut tensors: Vec<_> = Vec::new();
    for prefix in ["student.", "ema."] {
        tensors.extend(
            weights
                .iter()
                .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())),
        );
    }
    tensors.push((
        "head.bias".to_owned(),
        Tensor::from_f32(&[1], vec![0.5]).unwrap(),
    ));
    let none = std::collections::BTreeMap::new();
    write_safetensors(sandbox.path("two.safetensors"), tensors, &none).unwrap();
    let out = sandbox.done(&["inspect", "two.safetensors"]);
    for part in [
        "prefix      `student.` before each name",
        "others      ema (--weights-key)",
        "left out    1 tensor outside of the model, such as head.bias",
    ] {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
    let ema = sandbox.done(&["inspect", "two.safetensors", "--weights-key", "ema"]);
    assert!(ema.contains("prefix      `ema.`"), "{ema}");
    let output = sandbox.clipn(&["inspect", "two.safetensors", "--weights-key", "teacher"]);
    let error = text(&output.stderr);
    assert!(
        error.contains("no model named `teacher` in two.safetensors, which has: student, ema"),
        "{error}"
    );
    let model = ["--model", "tiny.json", "--pretrained", "two.safetensors"];
    let output = sandbox.clipn(
        &[
            &["classify", "--classes", "pizza, goldfish"],
            &model[..],
            &["photos"],
        ]
        .concat(),
    );
    let error = text(&output.stderr);
    assert!(
        error.contains("two.safetensors has other models too, which --weights-key takes: ema"),
        "{error}"
    );
    let built_in = [
        "classify",
        "--classes",
        "pizza, goldfish",
        "--weights-key",
        "ema",
    ];
    let output = sandbox.clipn(&[&built_in[..], &["photos"]].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--weights-key has no effect"), "{error}");
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
