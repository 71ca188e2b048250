//! Pretrained CLIP weights by name, from Hugging Face's hub and its cache.
//!
//! A name is a path, a repository `hf-hub:OWNER/NAME[/FILE][@REVISION]`, or one of open_clip's
//! tags together with an architecture. The cache is the one of Python's huggingface_hub: files that
//! either program has downloaded are not downloaded again.
//!
//! ```text
//! WeightsName::parse ──▶ Path ─────────────────────────────────────────▶ FetchedWeights
//!        │                                                                ▲        ▲
//!        ├─▶ Hub  OWNER/NAME ──▶ complete in the cache? ──────── yes ─────┘        │
//!        │                              │ no                                       │
//!        └─▶ Tag  of open_clip          ▼                                          │
//!                 (repository    list files ─▶ choose weights and configs          │
//!                  or URL)              ─▶ download, resume, verify SHA-256 ───────┘
//! ```
//!
//! # Example
//!
//! Without downloads, only the cache is searched:
//!
//! ```
//! use clipn_hub::{DownloadError, DownloadSettings, FetchPurpose, WeightsName};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let home = directory.path().to_owned();
//! let settings = DownloadSettings::from_lookup(&|name| match name {
//!     "HF_HOME" => Some(home.clone().into_os_string()),
//!     _ => None,
//! })?
//! .without_downloads();
//! let name = WeightsName::parse("laion2b_s34b_b88k", Some("ViT-B-16"))?;
//! match name.fetch(&settings, FetchPurpose::Compute) {
//!     Ok(weights) => println!("{}", weights.path.display()),
//!     Err(error @ DownloadError::NotCached { .. }) => {
//!         assert!(error.to_string().contains("laion/CLIP-ViT-B-16-laion2B-s34B-b88K"));
//!         assert!(error.hint().is_some());
//!     }
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`DownloadSettings::from_env`] reads the environment variables of huggingface_hub (`HF_HOME`,
//! `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`, …) and the usual proxy variables.
//!
//! # Features
//!
//! | feature | default | effect |
//! |---|---|---|
//! | `download` | no | requests over the network, with rustls; otherwise only weights that are in the cache |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cache;
mod env;
mod error;
mod fetch;
#[cfg(feature = "download")]
mod http;
#[cfg(feature = "download")]
mod hub;
mod hub_name;
mod name;
mod settings;
mod tags;
#[cfg(feature = "download")]
mod transfer;
#[cfg(feature = "download")]
mod url;

pub use cache::{CacheInventory, CachedWeights, IncompleteDownloads};
pub use error::{DownloadError, OfflineReason};
pub use fetch::FetchedWeights;
#[cfg(feature = "download")]
pub use http::{Network, Proxies, RetryPolicy, Token};
#[cfg(all(fuzzing, feature = "download"))]
#[doc(hidden)]
pub use hub::fuzzing;
pub use hub_name::HubName;
pub use name::WeightsName;
pub use settings::{DownloadSettings, FetchPurpose};
pub use tags::{PretrainedSource, PretrainedTag, pretrained_tags, pretrained_tags_for};
#[cfg(feature = "download")]
pub use url::{fetch_url, fetch_url_with_progress};
