use thiserror::Error;

/// Error of a collective operation. The run cannot continue, because ranks may differ from here on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommunicatorError {
    /// A rank ended while others were waiting for it.
    #[error("rank {rank} of {world_size} ended before a collective operation was complete")]
    RankLost {
        /// The rank that ended.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
    },
    /// Two ranks called different operations.
    #[error(
        "mismatched collective operations: expected {expected} as on rank 0, \
         got {found} on rank {rank}"
    )]
    MismatchedOperations {
        /// The first rank that differs from rank 0.
        rank: usize,
        /// Operation of that rank, with the number and size of its values.
        found: String,
        /// Operation of rank 0.
        expected: String,
    },
    /// The root of a broadcast is not a rank.
    #[error("invalid broadcast root: expected a rank from 0 to {last}, got {rank}")]
    InvalidRoot {
        /// The given root.
        rank: usize,
        /// The highest rank.
        last: usize,
    },
}
