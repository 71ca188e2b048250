//! A CLIP with a ResNet image tower on the compiled program: inspected, taught "no", evaluated.

use std::collections::BTreeMap;

use crate::common::{Sandbox, text};
use clipn::checkpoint::{Checkpoint, Tensor, write_safetensors};
use clipn::model::{ModelConfig, TensorSpec, TextSide};

/// Writes `rn.json` and `rn.safetensors`, a plain CLIP with the real vocabulary and evenly spread
/// values.
pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.training_set();
    sandbox.write(
        "rn.json",
        r#"{"embed_dim": 12, "vision_cfg": {"image_size": 32, "layers": [1, 2, 1, 1], "width": 8, "patch_size": null},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}}"#,
    );
    let config = ModelConfig::load(sandbox.path("rn.json")).unwrap();
    let no: Vec<String> = config
        .text
        .tensors(12, TextSide::No)
        .into_iter()
        .map(|tensor| tensor.name)
        .collect();
    let tensors = config
        .tensors()
        .into_iter()
        .filter(|tensor| !no.contains(&tensor.name))
        .enumerate()
        .map(|(index, TensorSpec { name, shape })| {
            let count = shape.iter().product::<usize>();
            let scale = if shape.len() > 1 {
                (shape[1..].iter().product::<usize>() as f64).powf(-0.5)
            } else {
                0.2
            };
            let center = f64::from(u8::from(
                name.ends_with("running_var") || name.contains("ln_"),
            ));
            let value = |i: usize| {
                let spread =
                    ((i + 1) as f64 * (0.618_034 + index as f64 * 1e-3)).fract() * 2.0 - 1.0;
                (center + scale * spread) as f32
            };
            let tensor =
                Tensor::from_f32(&shape, (0..count).map(value).collect::<Vec<_>>()).unwrap();
            (name, tensor)
        });
    write_safetensors(sandbox.path("rn.safetensors"), tensors, &BTreeMap::new()).unwrap();
    sandbox
}

/// The arguments that name the model of [`sandbox`].
pub(crate) const MODEL: [&str; 4] = ["--model", "rn.json", "--pretrained", "rn.safetensors"];
const DATA: [&str; 8] = [
    "--train-data",
    "captions.tsv",
    "--batch-size",
    "8",
    "--workers",
    "2",
    "--epochs",
    "1",
];

#[test]
fn inspects_teaches_and_evaluates_a_resnet() {
    let s = sandbox();
    let stdout = s.done(&["inspect", "rn.safetensors"]);
    assert!(
        stdout.contains("ModifiedResNet, width 8, 1 + 2 + 1 + 1 blocks, image size 32"),
        "{stdout}"
    );

    let caching = [
        "--name",
        "taught",
        "--cache-image-features",
        "--augmentation",
        "none",
    ];
    let weights = s.done(&[&["train"][..], &MODEL, &DATA, &caching].concat());
    let weights = weights.trim();
    // The frozen tower is unchanged, and the "no" side is added.
    let [before, after] =
        [s.path("rn.safetensors"), s.path(weights)].map(|path| Checkpoint::open(&path).unwrap());
    for (name, tensor) in before
        .iter()
        .filter(|(name, _)| name.starts_with("visual."))
    {
        assert_eq!(
            after.get(name).unwrap().to_f32()[..],
            tensor.to_f32()[..],
            "{name}"
        );
    }
    assert!(
        after
            .get("prompt_no")
            .unwrap()
            .to_f32()
            .iter()
            .any(|&v| v != 0.0)
    );

    let model = [
        "--model",
        "rn.json",
        "--pretrained",
        weights,
        "--templates",
        "simple",
    ];
    let sets = ["--id", "id", "--ood", "noise=noise"];
    let table = s.done(&[&["eval"][..], &model, &sets].concat());
    assert!(
        table.contains("id: 12 images, 3 classes") && !table.contains("NaN"),
        "{table}"
    );
    let labels = s.done(
        &[
            &["classify"][..],
            &model,
            &["--classes", "classes.txt", "photos"],
        ]
        .concat(),
    );
    assert_eq!(labels.lines().count(), 2, "{labels}");
}

#[test]
fn rejects_training_of_a_resnet_tower() {
    let s = sandbox();
    let starts: [&[&str]; 2] = [&MODEL[..2], &MODEL];
    for start in starts {
        let output = s.clipn(&[&["train", "--objective", "clip"][..], start, &DATA].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        for part in ["model `rn`: a ResNet", "--objective clipn", "train a ViT"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
