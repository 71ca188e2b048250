//! The towers on the CPU. [`VisionTower`], [`ResNetTower`] and [`TransformerText`] are the fast f32 form: threads take chunks of the
//! batch, and each runs whole towers on its chunk with one-thread matrix products. [`plain`] is the slow, obvious form
//! in f32 and f64, which the tests hold the fast one against. Both forms of
//! ViT and text towers can be trained: [`crate::model::TrainImage`] and
//! [`crate::model::TrainText`] keep a tape on the way forward and take gradients back over it, written out by hand.

mod block;
mod chunks;
mod head;
mod kernels;
mod peak;
pub mod plain;
mod products;
mod text;
mod vision;

pub use peak::product_peak;
pub use text::{TextEncoder, TextTape, TransformerText};
pub use vision::{
    ResNetTower, VisionEncoder, VisionTape, VisionTower, image_tower, image_tower_alone,
};
