use std::net::SocketAddr;

use clipn::model::ModelError;

/// An error that keeps the server from starting or from listening.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting or an API key is invalid.
    #[error("{0}")]
    InvalidSetting(String),
    /// The address is in use or does not belong to this machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// Requested address.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The towers of a model cannot be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Threads cannot be started.
    #[error("cannot start {what}: {reason}")]
    SpawnThreads {
        /// What the threads are for.
        what: &'static str,
        /// Error of the operating system.
        reason: String,
    },
}
