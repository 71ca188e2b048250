//! Pretrained weights by name: `hf-hub:OWNER/NAME[/FILE][@REVISION]` and open_clip's tags.
//!
//! [`WeightsName::of`] parses a name or path. [`WeightsName::fetch`] returns the files: from Hugging Face's
//! cache, which is shared with Python's huggingface_hub, or downloaded into it. Without the cargo
//! feature `download` only cached files are available.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use clipn::download::{WeightsName, FetchPurpose, DownloadSettings};
//! use clipn::progress::NoProgress;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name = WeightsName::parse("laion2b_s34b_b88k", Some("ViT-B-16"))?;
//! let fetched = name.fetch(&DownloadSettings::from_env()?, FetchPurpose::Compute, &NoProgress)?;
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
pub use fetch::{FetchedWeights, FetchPurpose};
#[cfg(feature = "download")]
pub use http::{Network, RetryPolicy, Proxies, Token};
#[cfg(all(fuzzing, feature = "download"))]
#[doc(hidden)]
pub use hub::fuzzing;
pub use name::{HubName, WeightsName};
pub use settings::{OfflineReason, DownloadSettings};
pub use table::{PretrainedSource, PretrainedTag, rows, pretrained_tags_for};
#[cfg(feature = "download")]
pub use url::fetch_url;
