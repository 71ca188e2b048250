//! Weights files as named tensors: safetensors, PyTorch `.pt` (zip and legacy) and TorchScript archives, whole or in
//! parts, told apart by their content; a folder stands for the weights in it. Names come out as open_clip's.
//! Nothing in a file is ever executed, and every size and offset is checked before memory is taken; tensors borrow
//! the memory-mapped file wherever its layout allows. [`Checkpoint::open`] reads, [`write_safetensors`] writes.

mod budget;
mod buffer;
mod cast;
mod convert;
mod dtype;
mod error;
mod export;
mod folder;
mod layout;
mod open;
mod pickle;
mod recognise;
mod safetensors;
mod shards;
mod state_dict;
mod tensor;
mod torch;
mod value;
mod write;

pub use buffer::Buffer;
pub use cast::FloatType;
pub use dtype::Dtype;
pub use error::CheckpointError;
pub use error::shown;
pub use export::to_transformers;
pub use folder::{agreed_name, begins_as_weights, is_open_clip_name};
pub use layout::Layout;
pub use open::Checkpoint;
pub use recognise::FileKind;
pub use shards::parts_of;
pub use tensor::Tensor;
pub use value::Value;
pub use write::write_safetensors;
pub use write::{Entry, beside, sync_folder, write_entries};
