//! Comparisons of a device with reference values, the same for every device.

pub(crate) mod features;
pub(crate) mod gradients;

use std::sync::Arc;

use clipn_gpu::{Device, DeviceImageTower, DeviceTextTower};
use clipn_model::{PromptSelection, Real, TextSide};
use clipn_testing::figures::{Figures, weights};
use clipn_testing::fixture;

/// The small models with a ViT, and the number of blocks of their text towers.
pub(crate) const MODELS: [(&str, usize); 2] = [("vit_gelu", 2), ("vit_quickgelu", 3)];

pub(crate) fn figures(path: &str) -> Figures {
    Figures::open(&fixture(path))
}

/// Reads a tensor in the type of a device.
pub(crate) fn values<D: Device>(figures: &Figures, name: &str) -> Vec<D::Value> {
    let values = figures.f64(name).into_iter();
    values.map(D::Value::from_f64).collect()
}

pub(crate) fn to_f64<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64().unwrap()).collect()
}

/// The towers of a small model on a device.
pub(crate) struct Towers<D: Device> {
    pub(crate) image: DeviceImageTower<D>,
    pub(crate) yes: DeviceTextTower<D>,
    pub(crate) no: DeviceTextTower<D>,
}

pub(crate) fn towers<D: Device>(device: &Arc<D>, model: &str) -> Towers<D> {
    let w = weights(model);
    let text = |side| DeviceTextTower::from_weights(Arc::clone(device), &w, side).unwrap();
    Towers {
        image: DeviceImageTower::from_weights(Arc::clone(device), &w).unwrap(),
        yes: text(TextSide::Yes),
        no: text(TextSide::No),
    }
}

pub(crate) fn trainable<D: Device>(device: &Arc<D>, model: &str) -> Towers<D> {
    let w = weights(model);
    let text = |side| {
        let params = w.text_params(side);
        DeviceTextTower::trainable(Arc::clone(device), w.config(), &params, side).unwrap()
    };
    let image = w.vision_params();
    Towers {
        image: DeviceImageTower::trainable(Arc::clone(device), w.config(), &image).unwrap(),
        yes: text(TextSide::Yes),
        no: text(TextSide::No),
    }
}

/// The prompt of the published training's draw: an index, or 16 for the mean.
pub(crate) fn prompt(index: u32) -> PromptSelection {
    match index {
        16 => PromptSelection::Mean,
        _ => PromptSelection::Index(index as usize),
    }
}
