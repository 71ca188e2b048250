//! Weights by name: `hf-hub:OWNER/NAME[/FILE][@REVISION]` and open_clip's tags, fetched once into Hugging Face's own
//! cache and found there again, with or without a net. [`Name::of`] tells names from paths, [`Name::fetch`] gives the
//! files; without the cargo feature `download` it gives those that are in the cache already.

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

pub use cache::{Held, HeldWeights, Unfinished};
pub use error::DownloadError;
pub use fetch::{Fetched, Purpose};
#[cfg(feature = "download")]
pub use http::{Network, Patience, Proxies, Token};
#[cfg(all(fuzzing, feature = "download"))]
#[doc(hidden)]
pub use hub::fuzzing;
pub use name::{HubName, Name};
pub use settings::{Offline, Settings};
pub use table::{Origin, Row, rows, rows_of};
#[cfg(feature = "download")]
pub use url::fetch_url;
