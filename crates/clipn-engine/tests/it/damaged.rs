//! A NaN anywhere in the weights of an image tower reaches the features: no kernel swallows it.

use std::collections::BTreeMap;

use clipn_checkpoint::{Checkpoint, Tensor, write_safetensors};
use clipn_engine::image_tower;
use clipn_model::{ImageBatch, ModelConfig, ModelWeights};
use clipn_testing::fixture;
use clipn_testing::random::Random;

/// Weights with a NaN at an element of a parameter.
fn with_nan(config: &ModelConfig, sound: &Checkpoint, name: &str, element: usize) -> ModelWeights {
    let tensors = sound.iter().map(|(other, tensor)| {
        let mut values = tensor.to_f32().into_vec();
        if other == name {
            values[element] = f32::NAN;
        }
        let tensor = Tensor::from_f32(tensor.shape(), values).unwrap();
        (other.to_owned(), tensor)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.safetensors");
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    ModelWeights::new(config.clone(), Checkpoint::open(&path).unwrap()).unwrap()
}

/// Sets three elements of each parameter of the image tower to NaN, one at a time.
fn check(model: &str) {
    let file = |name: &str| fixture(&format!("models/{model}/{name}"));
    let config = ModelConfig::load(file(&format!("{model}.json"))).unwrap();
    let sound = Checkpoint::open(file("model.safetensors")).unwrap();
    let size = config.vision.image_size;
    let pixels: Vec<f32> = Random::new(7).values(2 * 3 * size * size, 1.0);
    let mut parameters = 0;
    for (name, tensor) in sound.iter() {
        // A bias of keys shifts all logits of a query alike, so softmax does not depend on it.
        let has_no_effect = name.ends_with("k_proj.bias");
        if !name.starts_with("visual.") || has_no_effect || tensor.shape().is_empty() {
            continue;
        }
        parameters += 1;
        let len: usize = tensor.shape().iter().product();
        for element in [0, len / 2, len - 1] {
            let damaged = with_nan(&config, &sound, name, element);
            let features = image_tower(&damaged)
                .encode(ImageBatch::new(&pixels, size, size).unwrap())
                .unwrap();
            let has_nan = |row: &[f32]| row.iter().any(|value| value.is_nan());
            assert!(features.rows().all(has_nan), "{name}[{element}]");
        }
    }
    assert!(parameters > 10, "{parameters}");
}

#[test]
fn a_vision_transformer_returns_nan_for_a_nan_weight() {
    check("vit_gelu");
}

#[test]
fn a_resnet_returns_nan_for_a_nan_weight() {
    check("rn_tiny");
}
