//! Collective operations of ranks that train together (data parallelism).
//!
//! A [`Communicator`] is one rank's endpoint; every rank calls the same operations in the same
//! order. [`SingleProcess`] is a world of one rank, [`InProcess`] runs ranks as threads, and [`Mpi`]
//! connects processes on any number of machines.

mod error;
mod in_process;
mod mpi;
mod operation;
mod single;

use std::ops::Range;
use std::sync::Arc;

pub use error::CommunicatorError;
pub use in_process::InProcess;
pub use mpi::{Mpi, MpiAbi, MpiSettings, Reduction};
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

/// Returns a rank's share of `length` values, which it sums or updates for all `ranks`. Shares follow
/// one another in rank order and differ in length by at most 1.
pub fn share(length: usize, rank: usize, ranks: usize) -> Range<usize> {
    let bound = |rank: usize| (length as u128 * rank as u128 / ranks.max(1) as u128) as usize;
    bound(rank)..bound(rank + 1)
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
    /// every rank gets the same bits. If ranks call different operations, `values` are unchanged; after
    /// another error they are unspecified.
    ///
    /// # Errors
    /// Same as [`all_gather`](Collective::all_gather), and [`CommunicatorError::MismatchedOperations`] if ranks
    /// have different numbers of values.
    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError>;

    /// Replaces this rank's [`share`] of `values` by their elementwise sum over the ranks, added in
    /// order; other values are unspecified then. It moves half as much as
    /// [`all_reduce_sum`](Collective::all_reduce_sum).
    ///
    /// # Errors
    /// Same as [`all_reduce_sum`](Collective::all_reduce_sum).
    fn reduce_scatter_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError>;

    /// Replaces the [`share`] of every other rank in `values` by what that rank has there.
    ///
    /// # Errors
    /// Same as [`all_reduce_sum`](Collective::all_reduce_sum).
    fn all_gather_shares(&self, values: &mut [T]) -> Result<(), CommunicatorError>;

    /// Replaces `values` by those of the rank `root`. If ranks call different operations, `values` are
    /// unchanged; after another error they are unspecified.
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

    /// Returns every rank's bytes, in rank order. Ranks may contribute different numbers of bytes.
    ///
    /// # Errors
    /// Same as [`Collective::all_gather`].
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommunicatorError>;

    /// Waits until every rank has called it.
    ///
    /// # Errors
    /// Same as [`Collective::all_gather`].
    fn barrier(&self) -> Result<(), CommunicatorError> {
        self.all_gather_bytes(&[]).map(drop)
    }

    /// Returns the bytes of rank 0; those of other ranks are ignored.
    ///
    /// # Errors
    /// Same as [`Collective::all_gather`].
    fn bytes_of_root(&self, bytes: &[u8]) -> Result<Vec<u8>, CommunicatorError> {
        let own: &[u8] = if self.rank() == 0 { bytes } else { &[] };
        let mut gathered = self.all_gather_bytes(own)?;
        Ok(if gathered.is_empty() {
            Vec::new()
        } else {
            gathered.swap_remove(0)
        })
    }

    /// Ends all ranks, because this one cannot continue and the others would wait for it. Under MPI,
    /// every process exits with `code`, this one too.
    fn abort(&self, code: i32);

    /// Ends the connection after the last operation. No operation may follow. An endpoint that is
    /// dropped without it takes the other ranks along.
    ///
    /// # Errors
    /// [`CommunicatorError::Mpi`] if the library fails to shut down.
    fn finish(&self) -> Result<(), CommunicatorError> {
        Ok(())
    }
}

impl<T, C: Collective<T> + ?Sized> Collective<T> for Arc<C> {
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError> {
        (**self).all_gather(values)
    }

    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        (**self).all_reduce_sum(values)
    }

    fn reduce_scatter_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        (**self).reduce_scatter_sum(values)
    }

    fn all_gather_shares(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        (**self).all_gather_shares(values)
    }

    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError> {
        (**self).broadcast(root, values)
    }
}

impl<C: Communicator + ?Sized> Communicator for Arc<C> {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn world_size(&self) -> usize {
        (**self).world_size()
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        (**self).all_gather_bytes(bytes)
    }

    fn abort(&self, code: i32) {
        (**self).abort(code);
    }

    fn finish(&self) -> Result<(), CommunicatorError> {
        (**self).finish()
    }
}
