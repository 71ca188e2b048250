//! Text towers in f32: inference, the forward pass that records a tape, and the backward pass.

mod prefixes;
mod prompts;
mod tower;
mod train;

pub(super) use prompts::{PromptTables, add_position_gradients};
pub use tower::{TextEncoder, TextTransformer};
pub use train::TextTape;
