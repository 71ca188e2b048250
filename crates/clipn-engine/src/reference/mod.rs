//! Reference implementation of the towers: straight from the definitions, one value at a time,
//! generic over f32 and f64.
//!
//! Tests compare the fast towers with it, and compare it with the published f64 features and
//! gradients.

mod backward;
mod block;
mod resnet;
mod text;
mod vision;

pub use resnet::ReferenceResNet;
pub use text::{ReferenceText, ReferenceTextTape};
pub use vision::{ReferenceVision, ReferenceVisionTape};
