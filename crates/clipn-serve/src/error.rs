use std::net::SocketAddr;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}; choose another port, or 0 for any that is free")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start {what}: {reason}; ask for fewer workers")]
    Threads {
        /// What they were for.
        what: &'static str,
        /// What the system says.
        reason: String,
    },
}
