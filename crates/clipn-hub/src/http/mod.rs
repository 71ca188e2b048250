//! HTTP client for the hub and the storage it redirects to: token for the hub only, proxies by
//! host, and timeouts.

mod client;
mod network;
mod proxies;
mod redirect;
mod retry;

pub(crate) use client::{HttpResponse, HubClient, RedirectPolicy};
pub use network::{Network, Token};
pub use proxies::Proxies;
pub use retry::RetryPolicy;
