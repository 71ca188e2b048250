//! Requests to the hub and to where it points: the token for the hub alone, proxies by host, time limits.

mod client;
mod network;
mod proxies;
mod redirect;

pub(super) use client::{Answer, Client, Follow};
pub use network::{Network, Patience, Token};
pub use proxies::Proxies;
