//! Conversion of weights to a single safetensors file with its config, or to the directories that
//! open_clip and `transformers` open. Values are copied, not computed; only a conversion of the
//! element type, if requested, rounds them.

mod conversion;
mod error;
mod output;
mod quantize;
mod target;
mod write;

pub use conversion::{ConversionSummary, OmittedPart, WeightsConversion};
pub use error::ConvertError;
pub use target::ConversionTarget;
