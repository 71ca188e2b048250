//! The towers written as the definitions read, one value at a time, generic over f32 and f64: what the fast form is
//! tested against, and what the published f64 figures are held to.

mod backward;
mod block;
mod resnet;
mod text;
mod vision;

pub use resnet::PlainResNet;
pub use text::{PlainText, PlainTextTape};
pub use vision::{PlainVision, PlainVisionTape};
