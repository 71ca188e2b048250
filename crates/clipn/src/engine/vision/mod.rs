//! The ViT image tower in f32: inference, the forward pass that keeps a tape, and the backward pass.

mod positions;
mod tower;
mod train;

pub(super) use positions::add_position_gradients;
pub use tower::{VisionEncoder, VisionTower};
pub(super) use tower::{check_images, positions_for};
pub use train::VisionTape;
