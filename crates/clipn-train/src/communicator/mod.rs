//! Collective operations of ranks that train together (data parallelism).
//!
//! A [`Communicator`] is one rank's endpoint; every rank calls the same operations in the same
//! order. [`SingleProcess`] is a world of one rank, and [`InProcess`] runs ranks as threads.

mod error;
mod in_process;
mod single;

pub use error::CommunicatorError;
pub use in_process::InProcess;
pub use single::SingleProcess;

/// Values gathered from all ranks, in rank order.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered<T> {
    values: Vec<T>,
    lengths: Vec<usize>,
}

impl<T> Gathered<T> {
    /// Creates the result of values concatenated by rank and the number of values of each rank. The
    /// lengths must add up to the number of values.
    pub fn new(values: Vec<T>, lengths: Vec<usize>) -> Self {
        Self { values, lengths }
    }

    /// Returns the values of all ranks, rank 0's first.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Returns the number of values of each rank.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Returns the values and the lengths.
    pub fn into_parts(self) -> (Vec<T>, Vec<usize>) {
        (self.values, self.lengths)
    }
}

/// Collective operations on values of type `T`.
pub trait Collective<T> {
    /// Returns every rank's values, concatenated in rank order. Ranks may contribute different
    /// numbers of values.
    ///
    /// # Errors
    /// [`CommunicatorError::RankLost`] if a rank has ended, [`CommunicatorError::MismatchedOperations`] if a
    /// rank calls another operation.
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError>;

    /// Replaces `values` by their elementwise sum over the ranks. Ranks are added in order, so
    /// every rank gets the same bits. On an error, `values` are unchanged.
    ///
    /// # Errors
    /// Same as [`all_gather`](Collective::all_gather), and [`CommunicatorError::MismatchedOperations`] if ranks
    /// have different numbers of values.
    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError>;

    /// Replaces `values` by those of the rank `root`. On an error, `values` are unchanged.
    ///
    /// # Errors
    /// Same as [`all_reduce_sum`](Collective::all_reduce_sum), and
    /// [`CommunicatorError::InvalidRoot`] if `root` is not a rank.
    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError>;
}

/// One rank's endpoint. Features and gradients are exchanged as f32, losses and counts as f64.
pub trait Communicator: Collective<f32> + Collective<f64> + Send + Sync {
    /// Returns this rank, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of ranks.
    fn world_size(&self) -> usize;
}
