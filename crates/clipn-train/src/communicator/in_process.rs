//! Ranks as threads of one process, synchronized at each operation.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use clipn_model::Real;

use super::{Collective, Communicator, CommunicatorError, Gathered};

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

/// An operation that a rank called. Operations of one round must be equal, except for the length of
/// a gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operation {
    name: &'static str,
    root: usize,
    element_size: usize,
    length: Option<usize>,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from rank {}", self.name, self.root)?;
        if let Some(length) = self.length {
            write!(f, " of {length} values")?;
        }
        write!(f, " of {} bytes each", self.element_size)
    }
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
    fn exchange<T: Real>(
        &self,
        operation: Operation,
        values: &[T],
    ) -> Result<Arc<Vec<Contribution>>, CommunicatorError> {
        let contribution = Contribution {
            operation,
            bytes: bytemuck::cast_slice(values).to_vec(),
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
        check_same(&completed)?;
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

/// Checks that all ranks called the same operation. Every rank sees the same contributions, so all
/// return the same error.
fn check_same(completed: &[Contribution]) -> Result<(), CommunicatorError> {
    let Some(first) = completed.first() else {
        return Ok(());
    };
    match completed
        .iter()
        .position(|c| c.operation != first.operation)
    {
        None => Ok(()),
        Some(rank) => Err(CommunicatorError::MismatchedOperations {
            rank,
            found: completed[rank].operation.to_string(),
            expected: first.operation.to_string(),
        }),
    }
}

/// Returns the values that a rank contributed. The bytes may have any alignment.
fn values_of<T: Real>(contribution: &Contribution) -> impl Iterator<Item = T> {
    contribution
        .bytes
        .chunks_exact(size_of::<T>())
        .map(bytemuck::pod_read_unaligned)
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let mut rendezvous = self.shared.lock();
        rendezvous.lost.get_or_insert(self.rank);
        drop(rendezvous);
        self.shared.changed.notify_all();
    }
}

impl<T: Real> Collective<T> for InProcess {
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError> {
        let operation = Operation {
            name: "all_gather",
            root: 0,
            element_size: size_of::<T>(),
            length: None,
        };
        let completed = self.exchange(operation, values)?;
        let lengths = completed
            .iter()
            .map(|c| c.bytes.len() / size_of::<T>())
            .collect();
        Ok(Gathered::new(
            completed.iter().flat_map(values_of).collect(),
            lengths,
        ))
    }

    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let length = Some(values.len());
        let operation = Operation {
            name: "all_reduce_sum",
            root: 0,
            element_size: size_of::<T>(),
            length,
        };
        let completed = self.exchange(operation, values)?;
        for (rank, contribution) in completed.iter().enumerate() {
            for (value, term) in values.iter_mut().zip(values_of::<T>(contribution)) {
                *value = if rank == 0 { term } else { *value + term };
            }
        }
        Ok(())
    }

    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError> {
        let last = self.shared.world_size - 1;
        if root > last {
            return Err(CommunicatorError::InvalidRoot { rank: root, last });
        }
        let length = Some(values.len());
        let operation = Operation {
            name: "broadcast",
            root,
            element_size: size_of::<T>(),
            length,
        };
        let completed = self.exchange(operation, values)?;
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
}
