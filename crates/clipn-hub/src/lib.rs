//! Pretrained weights by name: `hf-hub:OWNER/NAME[/FILE][@REVISION]` and open_clip's tags.
//!
//! [`Name::of`] parses a name or path. [`Name::fetch`] returns the files: from Hugging Face's
//! cache, which is shared with Python's huggingface_hub, or downloaded into it. Without the cargo
//! feature `download` only cached files are available.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use clipn::download::{Name, Purpose, Settings};
//! use clipn::progress::NoProgress;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name = Name::of(Path::new("laion2b_s34b_b88k"), Some("ViT-B-16"))?;
//! let fetched = name.fetch(&Settings::from_env()?, Purpose::Compute, &NoProgress)?;
//! println!("{}", fetched.path.display());
//! # Ok(())
//! # }
//! ```

mod cache;
mod error;
mod fetch;
#[cfg(feature = "download")]
mod http;
#[cfg(feature = "download")]
mod hub;
mod name;
mod settings;
mod table;
#[cfg(feature = "download")]
mod transfer;
#[cfg(feature = "download")]
mod url;

pub use cache::{CacheInventory, CachedWeights, IncompleteDownloads};
pub use error::DownloadError;
pub use fetch::{FetchedWeights, Purpose};
#[cfg(feature = "download")]
pub use http::{Network, Proxies, RetryPolicy, Token};
#[cfg(all(fuzzing, feature = "download"))]
#[doc(hidden)]
pub use hub::fuzzing;
pub use name::{HubName, Name};
pub use settings::{OfflineReason, Settings};
pub use table::{Origin, Row, rows, rows_of};
#[cfg(feature = "download")]
pub use url::fetch_url;
