//! HTTP client for the hub and the storage it redirects to: token for the hub only, proxies by
//! host, and timeouts.

mod client;
mod network;
mod proxies;
mod redirect;

pub(super) use client::{Client, HttpResponse, RedirectPolicy};
pub use network::{Network, RetryPolicy, Token};
pub use proxies::Proxies;
