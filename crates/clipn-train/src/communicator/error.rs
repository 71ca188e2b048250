use std::path::PathBuf;

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
    /// No MPI library could be loaded.
    #[error("no MPI library found: {}", refusals.join("; "))]
    NoMpi {
        /// The libraries that were tried, with the reason.
        refusals: Vec<String>,
    },
    /// The chosen MPI library cannot be used.
    #[error("cannot use the MPI library {}: {problem}", path.display())]
    MpiLibrary {
        /// Path or name of the library.
        path: PathBuf,
        /// Error of the dynamic loader, or what the library lacks.
        problem: String,
    },
    /// An MPI function failed.
    #[error("{function} failed: {problem}")]
    Mpi {
        /// Name of the function.
        function: &'static str,
        /// MPI's message.
        problem: String,
    },
    /// MPI was initialized or finalized by another part of this process.
    #[error("MPI is already {state} in this process")]
    MpiState {
        /// `initialized` or `finalized`.
        state: &'static str,
    },
    /// The MPI library is built without support for threads.
    #[error("expected an MPI library with thread support, got level {provided} of {required}")]
    ThreadSupport {
        /// Level that the library provides.
        provided: i32,
        /// Level that is required: MPI_THREAD_SERIALIZED.
        required: i32,
    },
    /// The launcher started another number of processes than MPI connects.
    #[error("MPI connects {found} of {announced} processes ({variable}), through {library}")]
    WorldMismatch {
        /// Variable of the launcher.
        variable: &'static str,
        /// Number of processes that the launcher announces.
        announced: usize,
        /// Number of processes that MPI connects.
        found: usize,
        /// Path or name of the library.
        library: String,
    },
}
