//! Ranks as threads of one process, synchronized at each operation.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use clipn_model::Real;

use super::operation::{Operation, OperationKind};
use super::{Collective, Communicator, CommunicatorError, Gathered, share};

/// Endpoint of one thread in a world of threads.
///
/// Move each endpoint into its own thread. If an endpoint is dropped, by a panic too, operations of
/// all others return [`CommunicatorError::RankLost`] instead of waiting for it.
#[derive(Debug)]
pub struct InProcess {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world_size: usize,
    rendezvous: Mutex<Rendezvous>,
    changed: Condvar,
}

/// State of the current operation. A rank leaves one operation before it enters the next, so the
/// result of an operation stays until every rank has read it.
#[derive(Debug)]
struct Rendezvous {
    /// Number of completed operations.
    round: u64,
    /// Contributions to the current operation, by rank.
    contributions: Vec<Option<Contribution>>,
    /// Contributions to the last completed operation, by rank.
    completed: Arc<Vec<Contribution>>,
    /// The first rank whose endpoint was dropped.
    lost: Option<usize>,
}

#[derive(Debug, Clone)]
struct Contribution {
    operation: Operation,
    bytes: Vec<u8>,
}

impl InProcess {
    /// Creates the endpoints of a world of `world_size` ranks, in rank order.
    pub fn world(world_size: usize) -> Vec<Self> {
        let rendezvous = Rendezvous {
            round: 0,
            contributions: vec![None; world_size],
            completed: Arc::new(Vec::new()),
            lost: None,
        };
        let shared = Arc::new(Shared {
            world_size,
            rendezvous: Mutex::new(rendezvous),
            changed: Condvar::new(),
        });
        (0..world_size)
            .map(|rank| Self {
                rank,
                shared: Arc::clone(&shared),
            })
            .collect()
    }

    /// Contributes this rank's values and waits for those of all ranks.
    fn exchange(
        &self,
        operation: Operation,
        bytes: &[u8],
    ) -> Result<Arc<Vec<Contribution>>, CommunicatorError> {
        let contribution = Contribution {
            operation,
            bytes: bytes.to_vec(),
        };
        let mut rendezvous = self.shared.lock();
        self.check_all_alive(&rendezvous)?;
        let round = rendezvous.round;
        rendezvous.contributions[self.rank] = Some(contribution);
        if rendezvous.contributions.iter().all(Option::is_some) {
            rendezvous.completed = Arc::new(
                rendezvous
                    .contributions
                    .iter_mut()
                    .filter_map(Option::take)
                    .collect(),
            );
            rendezvous.round += 1;
            self.shared.changed.notify_all();
        }
        while rendezvous.round == round {
            self.check_all_alive(&rendezvous)?;
            rendezvous = self
                .shared
                .changed
                .wait(rendezvous)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let completed = Arc::clone(&rendezvous.completed);
        drop(rendezvous);
        Operation::check_same(completed.iter().map(|c| c.operation))?;
        Ok(completed)
    }

    fn check_all_alive(&self, rendezvous: &Rendezvous) -> Result<(), CommunicatorError> {
        match rendezvous.lost {
            Some(rank) => Err(CommunicatorError::RankLost {
                rank,
                world_size: self.shared.world_size,
            }),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Locks the rendezvous. It is consistent at every instant, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, Rendezvous> {
        self.rendezvous
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the values that a rank contributed. The bytes may have any alignment.
fn values_of<T: Real>(contribution: &Contribution) -> impl Iterator<Item = T> {
    contribution
        .bytes
        .chunks_exact(size_of::<T>())
        .map(bytemuck::pod_read_unaligned)
}

impl InProcess {
    /// Marks this rank as lost, so that operations of all others fail.
    fn leave(&self) {
        let mut rendezvous = self.shared.lock();
        rendezvous.lost.get_or_insert(self.rank);
        drop(rendezvous);
        self.shared.changed.notify_all();
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T: Real> Collective<T> for InProcess {
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError> {
        let operation = Operation::new::<T>(OperationKind::AllGather, 0, values.len());
        let completed = self.exchange(operation, bytemuck::cast_slice(values))?;
        let lengths = completed.iter().map(|c| c.operation.length).collect();
        Ok(Gathered::new(
            completed.iter().flat_map(values_of).collect(),
            lengths,
        ))
    }

    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let operation = Operation::new::<T>(OperationKind::AllReduceSum, 0, values.len());
        let completed = self.exchange(operation, bytemuck::cast_slice(values))?;
        for (rank, contribution) in completed.iter().enumerate() {
            for (value, term) in values.iter_mut().zip(values_of::<T>(contribution)) {
                *value = if rank == 0 { term } else { *value + term };
            }
        }
        Ok(())
    }

    fn reduce_scatter_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let operation = Operation::new::<T>(OperationKind::ReduceScatterSum, 0, values.len());
        let completed = self.exchange(operation, bytemuck::cast_slice(values))?;
        let own = share(values.len(), self.rank, self.shared.world_size);
        for (rank, contribution) in completed.iter().enumerate() {
            let terms = values_of::<T>(contribution).skip(own.start);
            for (value, term) in values[own.clone()].iter_mut().zip(terms) {
                *value = if rank == 0 { term } else { *value + term };
            }
        }
        Ok(())
    }

    fn all_gather_shares(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let operation = Operation::new::<T>(OperationKind::AllGatherShares, 0, values.len());
        let completed = self.exchange(operation, bytemuck::cast_slice(values))?;
        for (rank, contribution) in completed.iter().enumerate() {
            let part = share(values.len(), rank, self.shared.world_size);
            let of_rank = values_of::<T>(contribution).skip(part.start);
            for (value, of_rank) in values[part].iter_mut().zip(of_rank) {
                *value = of_rank;
            }
        }
        Ok(())
    }

    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError> {
        let last = self.shared.world_size - 1;
        if root > last {
            return Err(CommunicatorError::InvalidRoot { rank: root, last });
        }
        let operation = Operation::new::<T>(OperationKind::Broadcast, root, values.len());
        let completed = self.exchange(operation, bytemuck::cast_slice(values))?;
        for (value, of_root) in values.iter_mut().zip(values_of(&completed[root])) {
            *value = of_root;
        }
        Ok(())
    }
}

impl Communicator for InProcess {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.shared.world_size
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        let operation = Operation::new::<u8>(OperationKind::AllGatherBytes, 0, bytes.len());
        let completed = self.exchange(operation, bytes)?;
        Ok(completed.iter().map(|c| c.bytes.clone()).collect())
    }

    fn abort(&self, _code: i32) {
        self.leave();
    }
}
