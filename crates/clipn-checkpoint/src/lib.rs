//! Weights files as named tensors.
//!
//! [`Checkpoint::open`] reads safetensors files, PyTorch `.pt` files (zip and legacy) and
//! TorchScript archives. It detects the format from the content, follows the index of a sharded
//! checkpoint, and finds the weights file of a directory. Tensor names are converted to
//! open_clip's. [`write_safetensors`] writes.
//!
//! Nothing in a file is ever executed. Every size and offset is checked before memory is allocated,
//! and tensors borrow the memory-mapped file if its layout allows.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use clipn::checkpoint::{Checkpoint, Dtype, Tensor, write_safetensors};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("model.safetensors");
//! let weight = Tensor::from_f32(&[2, 3], vec![0.5; 6])?;
//! write_safetensors(&path, [("proj".to_owned(), weight)], &BTreeMap::new())?;
//!
//! let checkpoint = Checkpoint::open(&path)?;
//! for (name, tensor) in checkpoint.iter() {
//!     println!("{name}: {} {:?}", tensor.dtype(), tensor.shape());
//! }
//! assert_eq!(checkpoint.get("proj").map(Tensor::dtype), Some(Dtype::F32));
//! # Ok::<(), clipn::checkpoint::CheckpointError>(())
//! ```

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
pub use folder::{has_weights_signature, is_open_clip_file_name, preferred_weights_name};
pub use layout::Layout;
pub use open::Checkpoint;
pub use recognise::FileKind;
pub use shards::shard_names;
pub use tensor::Tensor;
pub use value::Value;
pub use write::write_safetensors;
pub use write::{Entry, beside, sync_parent_directory, write_entries};
