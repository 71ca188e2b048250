use thiserror::Error;

/// Why an operation over all ranks failed. The run cannot go on: ranks may differ from now on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommunicatorError {
    /// A rank ended while others still needed it.
    #[error(
        "rank {rank} of {world_size} is gone; look for its own error, then resume from the last checkpoint"
    )]
    RankLost {
        /// The rank that is gone.
        rank: usize,
        /// How many ranks there were.
        world_size: usize,
    },
    /// Two ranks called different operations.
    #[error(
        "rank {rank} is at {found} while rank 0 is at {expected}; every rank must run the same program and settings"
    )]
    Diverged {
        /// The rank that differs from rank 0.
        rank: usize,
        /// What it called, with the number and size of its values.
        found: String,
        /// What rank 0 called.
        expected: String,
    },
    /// A root that is no rank.
    #[error("there is no rank {rank} to broadcast from; the ranks are 0 to {last}")]
    NoSuchRank {
        /// What was asked for.
        rank: usize,
        /// The highest rank.
        last: usize,
    },
}
