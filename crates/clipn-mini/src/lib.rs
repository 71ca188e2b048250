//! The weights of `clipn-mini`, clipn's demonstration model: an image tower and two text towers of
//! width 128, stored as f16 safetensors. The README is the model card: architecture, training data,
//! what the model knows and what it cannot do.
//!
//! The weights were trained on images of ImageNet and are for **non-commercial research and
//! education only**, unlike the code of the other crates; `LICENSE` has the terms. `clipn-model`
//! embeds them with its feature `mini`. This crate has no features.
//!
//! ```
//! // safetensors: the length of the JSON header as a little-endian u64, the header, the data.
//! let header = u64::from_le_bytes(clipn_mini::SAFETENSORS[..8].try_into()?);
//! assert!(header < clipn_mini::SAFETENSORS.len() as u64);
//! # Ok::<(), std::array::TryFromSliceError>(())
//! ```

/// The weights as a safetensors file, about 4.7 MB.
pub static SAFETENSORS: &[u8] = include_bytes!("../clipn-mini.safetensors");

/// Terms of the weights in a few words, as programs print them.
pub const LICENSE: &str = "non-commercial research and education only";
