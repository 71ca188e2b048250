//! Reference tensors and comparisons with them.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use clipn_checkpoint::{Checkpoint, Tensor};
use clipn_model::{ModelConfig, ModelWeights};

use crate::fixture;

/// Safetensors file of reference inputs and outputs.
pub struct Figures(Checkpoint);

impl Figures {
    pub fn open(path: &Path) -> Self {
        Self(Checkpoint::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("{} has no tensor {name}", self.0.path().display()))
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.tensor(name).to_f32().to_vec()
    }

    pub fn f64(&self, name: &str) -> Vec<f64> {
        self.tensor(name).to_f64().to_vec()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.f64(name).into_iter().map(|id| id as u32).collect()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(name).shape().to_vec()
    }
}

/// Loads the weights of a small model in `tests/fixtures/models`.
pub fn weights(model: &str) -> ModelWeights {
    let config = ModelConfig::load(fixture(&format!("models/{model}/{model}.json"))).unwrap();
    let checkpoint =
        Checkpoint::open(fixture(&format!("models/{model}/model.safetensors"))).unwrap();
    ModelWeights::new(config, checkpoint).unwrap()
}

/// Maximum absolute difference, relative to the maximum expected magnitude. NaN counts as infinite.
pub fn relative_to_max<T: Into<f64> + Copy>(found: &[T], expected: &[T]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let largest = expected.iter().map(|&e| e.into().abs()).fold(0.0, f64::max);
    let max_difference = found
        .iter()
        .zip(expected)
        .map(|(&f, &e)| (f.into() - e.into()).abs())
        .fold(
            0.0,
            |a: f64, d| if d.is_nan() { f64::INFINITY } else { a.max(d) },
        );
    max_difference / largest.max(f64::MIN_POSITIVE)
}

/// Asserts that the maximum difference is at most `tolerance` times the maximum expected magnitude.
#[track_caller]
pub fn assert_close<T: Into<f64> + Copy>(found: &[T], expected: &[T], tolerance: f64, what: &str) {
    let error = relative_to_max(found, expected);
    println!("{what}: {error:e} of the maximum");
    assert!(
        error <= tolerance,
        "{what}: {error:e} of the maximum, expected at most {tolerance:e}"
    );
}
