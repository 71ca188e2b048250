//! Weights files as named tensors, without executing anything in them.
//!
//! PyTorch's `.pt` files are pickles: programs that may call any Python function. This crate reads
//! them as data. A name that a pickle calls is either on the short list that weights need, or the
//! file is rejected. Sizes and offsets are checked before memory is allocated, and what one file
//! may allocate is bounded by its size. Tensors borrow the memory-mapped file if its layout allows.
//!
//! ```text
//! .safetensors ───────────────────────┐
//! .pt (zip, legacy) ─► pickle, zip ───┤   wrapper prefixes    names of CLIP models
//! TorchScript ───────► pickle, zip ───┼─► stripped ─────────► converted to ────► Checkpoint
//! *.index.json ──────► all shards ────┤   (module.)           open_clip's        name → Tensor
//! .metadata ─► all ranks, joined ─────┤
//! directory ─────────► its file ──────┘
//! ```
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use clipn_checkpoint::{Checkpoint, Dtype, Tensor, write_safetensors};
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("model.safetensors");
//! let weight = Tensor::from_f32(&[2, 3], vec![0.5; 6])?;
//! write_safetensors(&path, [("proj".to_owned(), weight)], &BTreeMap::new())?;
//!
//! let checkpoint = Checkpoint::open(&path)?;
//! for (name, tensor) in &checkpoint {
//!     println!("{name}: {} {:?}", tensor.dtype(), tensor.shape());
//! }
//! assert_eq!(checkpoint.get("proj").map(Tensor::dtype), Some(Dtype::F32));
//! # Ok::<(), clipn_checkpoint::CheckpointError>(())
//! ```
//!
//! | item | purpose |
//! |---|---|
//! | [`Checkpoint`] | a weights file, a sharded or distributed checkpoint or a directory; the format is detected from the content |
//! | [`Tensor`], [`Buffer`] | stored elements, and numbers that are owned or views of the file |
//! | [`Value`], [`Checkpoint::object`] | everything else in a `.pt` file, such as an optimizer's state |
//! | [`write_safetensors`] | atomic, reproducible writing; [`write_safetensors_with_progress`] casts and reports progress |
//! | [`to_transformers`] | conversion to the names of Hugging Face's `CLIPModel` |
//! | [`shard_names`], [`preferred_weights_name`], [`has_weights_signature`] | what to download or open |
//!
//! [`CheckpointError`] names the file, the location in it and the problem; its
//! [`hint`](CheckpointError::hint) says what to do. The crate has no features.

mod budget;
mod buffer;
mod cast;
mod convert;
mod directory;
mod distributed;
mod dtype;
mod error;
mod export;
mod file;
mod format;
mod layout;
mod metadata;
mod open;
mod pickle;
mod quantization;
mod safetensors;
mod selection;
mod shards;
mod state_dict;
mod tensor;
mod torch;
mod value;
mod write;

pub use buffer::{Buffer, Element};
pub use cast::FloatType;
pub use directory::{has_weights_signature, is_open_clip_file_name, preferred_weights_name};
pub use dtype::{Dtype, ParseDtypeError};
pub use error::CheckpointError;
#[doc(hidden)]
pub use error::escape_for_display;
pub use export::to_transformers;
pub use file::copy_files;
pub use format::WeightsFormat;
pub use layout::Layout;
pub use metadata::Metadata;
pub use open::{Checkpoint, Tensors};
pub use shards::shard_names;
pub use tensor::Tensor;
pub use value::Value;
pub use write::{TensorEntry, write_safetensors, write_safetensors_with_progress};
