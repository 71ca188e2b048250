//! Image and text features `[N, D]` in files, of this or any other program: NumPy arrays, safetensors,
//! PyTorch tensors and, with the feature `parquet`, Parquet tables with a column of lists.

mod error;
mod file;
mod keys;
mod labels;
pub mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod writer;

pub use error::FeatureError;
pub use file::FeatureFile;
pub use keys::{KeyKind, keys_beside};
pub use labels::read_labels;
#[cfg(feature = "parquet")]
#[cfg_attr(docsrs, doc(cfg(feature = "parquet")))]
pub use parquet::{write_feature_table, write_keys_table};
pub use writer::{FeatureFormat, FeatureWriter};
