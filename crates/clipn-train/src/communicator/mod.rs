//! Ranks that train together. A [`Communicator`] is one rank's end: every rank calls the same operations in the same
//! order. [`SingleProcess`] is a world of one; [`InProcess`] makes threads the ranks.

mod error;
mod in_process;
mod single;

pub use error::CommunicatorError;
pub use in_process::InProcess;
pub use single::SingleProcess;

/// What all ranks gave, in rank order.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered<T> {
    values: Vec<T>,
    lengths: Vec<usize>,
}

impl<T> Gathered<T> {
    /// Values concatenated by rank, and how many each rank gave; the lengths add up to the values.
    pub fn new(values: Vec<T>, lengths: Vec<usize>) -> Self {
        Self { values, lengths }
    }

    /// The values of all ranks, rank 0's first.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// How many values each rank gave.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Values and lengths.
    pub fn into_parts(self) -> (Vec<T>, Vec<usize>) {
        (self.values, self.lengths)
    }
}

/// Operations over all ranks on numbers of one type.
pub trait Collective<T> {
    /// Every rank's values, concatenated in rank order; ranks may give different numbers of values.
    ///
    /// # Errors
    /// A rank that is gone, or one that is at another operation.
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError>;

    /// Replaces `values` by their sum over the ranks, element by element, added in rank order: every rank has the same
    /// bits afterwards. On an error `values` are as they were.
    ///
    /// # Errors
    /// As [`all_gather`](Collective::all_gather), and ranks with different numbers of values.
    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError>;

    /// Replaces `values` by those of the rank `root`. On an error `values` are as they were.
    ///
    /// # Errors
    /// As [`all_reduce_sum`](Collective::all_reduce_sum), and a root that is no rank.
    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError>;
}

/// One rank's end of the communication: features and gradients travel as f32, losses and counts as f64.
pub trait Communicator: Collective<f32> + Collective<f64> + Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;
}
