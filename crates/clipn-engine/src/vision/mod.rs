//! The image towers in f32. ViT: inference, the forward pass that keeps a tape, and the backward pass. ResNet: inference.

mod positions;
pub(super) mod resnet;
mod tower;
mod train;

pub(super) use positions::add_position_gradients;
pub use resnet::ResNetTower;
pub use tower::{VisionEncoder, VisionTower};
pub(super) use tower::{check_images, positions_for};
pub use train::VisionTape;

use clipn_model::{ImageTower, ImageWeights, Weights};

/// The image tower of loaded weights for inference, whichever kind their config names.
pub fn image_tower(weights: &Weights) -> Box<dyn ImageTower<f32>> {
    match ResNetTower::from_weights(weights) {
        Ok(tower) => Box::new(tower),
        // Not a ResNet.
        Err(_) => Box::new(VisionEncoder::from_weights(weights)),
    }
}

/// As [`image_tower`], of weights without text towers.
pub fn image_tower_alone(weights: &ImageWeights) -> Box<dyn ImageTower<f32>> {
    image_tower(weights.weights())
}
