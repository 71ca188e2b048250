//! CLIP's ResNet image tower (open_clip's `ModifiedResNet`) in f32, for inference.
//!
//! Feature maps are stored channels-last, `[images, height, width, channels]`. A 1×1 convolution is
//! then one matrix product, and a 3×3 convolution is a product of gathered neighborhoods (im2col).
//! Batch norms are folded into the weights when the tower is created.

mod block;
mod conv;
mod grid;
mod pool;
mod tower;

pub(crate) use grid::last_grid;
pub use tower::ResNetTower;
