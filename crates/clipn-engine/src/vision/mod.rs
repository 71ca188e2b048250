//! Image towers: ViT (inference, the forward pass that records a tape, and the backward
//! pass) and ResNet (inference only).

pub(super) mod resnet;
mod tower;
mod train;

pub use resnet::ResNetTower;
pub use tower::{VisionEncoder, VisionTransformer};
pub use train::VisionTape;

use clipn_model::{ImageTower, ImageTowerWeights, ModelWeights};

/// Creates the image tower of loaded weights for inference: a ViT or a ResNet, as their config says. The
/// precision is as in [`VisionEncoder::from_weights`].
pub fn image_tower(weights: &ModelWeights) -> Box<dyn ImageTower<f32>> {
    match ResNetTower::from_weights(weights) {
        Ok(tower) => Box::new(tower),
        // Not a ResNet.
        Err(_) => Box::new(VisionEncoder::from_weights(weights)),
    }
}

/// Same as [`image_tower`], for weights without text towers.
pub fn image_tower_from_image_weights(weights: &ImageTowerWeights) -> Box<dyn ImageTower<f32>> {
    image_tower(weights.weights())
}

/// Writes the feature of each image before those of its patches, `[images, 1 + patches, dim]`, the form that
/// `LocalFeatures::from_rows` takes.
fn join_images_and_patches(out: &mut [f32], features: &[f32], patches: &[f32], dim: usize) {
    let features = features.chunks_exact(dim);
    // At least 1, as a chunk of no values is none.
    let patches_len = (patches.len() / features.len().max(1)).max(1);
    let images = out.chunks_exact_mut(dim + patches_len);
    for ((out, feature), patches) in images.zip(features).zip(patches.chunks_exact(patches_len)) {
        let (first, others) = out.split_at_mut(dim);
        first.copy_from_slice(feature);
        others.copy_from_slice(patches);
    }
}
