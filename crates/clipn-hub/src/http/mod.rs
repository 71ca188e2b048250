//! HTTP client for the hub and the storage it redirects to: token for the hub only, proxies by
//! host, and timeouts.

mod client;
mod network;
mod proxies;
mod redirect;

pub(super) use client::{Answer, Client, Follow};
pub use network::{Network, Patience, Token};
pub use proxies::Proxies;
