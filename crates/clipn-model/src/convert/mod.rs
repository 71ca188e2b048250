//! Weights of any kind written for elsewhere: as one safetensors file that carries its config, or as the folders that
//! open_clip and `transformers` open. Values are moved, not computed; only another element type, where it is asked for,
//! rounds them.

mod error;
mod output;
mod target;
mod write;

pub use error::ConvertError;
pub use target::Target;
pub use write::{Conversion, Converted, LeftOut};
