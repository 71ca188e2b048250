//! Weights files as named tensors: safetensors and PyTorch `.pt` (zip and legacy), told apart by their content.
//! Nothing in a file is ever executed, and every size and offset is checked before memory is taken; tensors borrow
//! the memory-mapped file wherever its layout allows. [`Checkpoint::open`] reads, [`write_safetensors`] writes.

mod budget;
mod buffer;
mod convert;
mod dtype;
mod error;
mod open;
mod pickle;
mod recognise;
mod safetensors;
mod state_dict;
mod tensor;
mod torch;
mod value;
mod write;

pub use buffer::Buffer;
pub use dtype::Dtype;
pub use error::CheckpointError;
pub use open::Checkpoint;
pub use recognise::FileKind;
pub use tensor::Tensor;
pub use value::Value;
pub use write::write_safetensors;
