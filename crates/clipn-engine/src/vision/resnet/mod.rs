//! CLIP's ResNet image tower in f32, for inference. Maps lie in memory with their channels side by side, `[images,
//! height, width, channels]`, so that a 1×1 convolution is one matrix product and a 3×3 one is a product of gathered
//! neighbours; batch norms are folded into the weights when the tower is made.

mod block;
mod conv;
mod grid;
mod pool;
mod tower;

pub(crate) use grid::last_grid;
pub use tower::ResNetTower;
