//! Threads as ranks, meeting at each operation.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Collective, Communicator, CommunicatorError, Gathered};
use clipn_model::Real;

/// One thread's end of a world of threads. Move each end into its own thread; an end that is dropped, by a panic too,
/// makes the operations of all others fail instead of waiting for it.
#[derive(Debug)]
pub struct InProcess {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world_size: usize,
    meeting: Mutex<Meeting>,
    changed: Condvar,
}

/// Where the ranks meet. A rank leaves one operation before it comes to the next, so the outcome of an operation stays
/// until every rank has seen it.
#[derive(Debug)]
struct Meeting {
    /// Operations completed.
    round: u64,
    /// What ranks have brought to the operation at hand.
    brought: Vec<Option<Contribution>>,
    /// What all ranks brought to the last operation completed, in rank order.
    outcome: Arc<Vec<Contribution>>,
    /// The first rank whose end was dropped.
    lost: Option<usize>,
}

#[derive(Debug, Clone)]
struct Contribution {
    operation: Operation,
    bytes: Vec<u8>,
}

/// What a rank called; those of one round must be equal, but for the length of a gathering.
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
    /// The ends of a world of `world_size` ranks, in rank order.
    pub fn world(world_size: usize) -> Vec<Self> {
        let meeting = Meeting {
            round: 0,
            brought: vec![None; world_size],
            outcome: Arc::new(Vec::new()),
            lost: None,
        };
        let shared = Arc::new(Shared {
            world_size,
            meeting: Mutex::new(meeting),
            changed: Condvar::new(),
        });
        (0..world_size)
            .map(|rank| Self {
                rank,
                shared: Arc::clone(&shared),
            })
            .collect()
    }

    /// Brings this rank's values and waits for everyone's.
    fn meet<T: Real>(
        &self,
        operation: Operation,
        values: &[T],
    ) -> Result<Arc<Vec<Contribution>>, CommunicatorError> {
        let contribution = Contribution {
            operation,
            bytes: bytemuck::cast_slice(values).to_vec(),
        };
        let mut meeting = self.shared.lock();
        self.check_nobody_lost(&meeting)?;
        let round = meeting.round;
        meeting.brought[self.rank] = Some(contribution);
        if meeting.brought.iter().all(Option::is_some) {
            meeting.outcome = Arc::new(
                meeting
                    .brought
                    .iter_mut()
                    .filter_map(Option::take)
                    .collect(),
            );
            meeting.round += 1;
            self.shared.changed.notify_all();
        }
        while meeting.round == round {
            self.check_nobody_lost(&meeting)?;
            meeting = self
                .shared
                .changed
                .wait(meeting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let outcome = Arc::clone(&meeting.outcome);
        drop(meeting);
        check_same(&outcome)?;
        Ok(outcome)
    }

    fn check_nobody_lost(&self, meeting: &Meeting) -> Result<(), CommunicatorError> {
        match meeting.lost {
            Some(rank) => Err(CommunicatorError::RankLost {
                rank,
                world_size: self.shared.world_size,
            }),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// The meeting is consistent at every instant, so a panic while it was locked does no harm to it.
    fn lock(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every rank sees the same contributions, so all come to the same error.
fn check_same(outcome: &[Contribution]) -> Result<(), CommunicatorError> {
    let Some(first) = outcome.first() else {
        return Ok(());
    };
    match outcome.iter().position(|c| c.operation != first.operation) {
        None => Ok(()),
        Some(rank) => Err(CommunicatorError::Diverged {
            rank,
            found: outcome[rank].operation.to_string(),
            expected: first.operation.to_string(),
        }),
    }
}

/// The numbers a rank brought; the bytes may lie at any alignment.
fn numbers<T: Real>(contribution: &Contribution) -> impl Iterator<Item = T> {
    contribution
        .bytes
        .chunks_exact(size_of::<T>())
        .map(bytemuck::pod_read_unaligned)
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let mut meeting = self.shared.lock();
        meeting.lost.get_or_insert(self.rank);
        drop(meeting);
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
        let outcome = self.meet(operation, values)?;
        let lengths = outcome
            .iter()
            .map(|c| c.bytes.len() / size_of::<T>())
            .collect();
        Ok(Gathered::new(
            outcome.iter().flat_map(numbers).collect(),
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
        let outcome = self.meet(operation, values)?;
        for (rank, contribution) in outcome.iter().enumerate() {
            for (value, brought) in values.iter_mut().zip(numbers::<T>(contribution)) {
                *value = if rank == 0 { brought } else { *value + brought };
            }
        }
        Ok(())
    }

    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError> {
        let last = self.shared.world_size - 1;
        if root > last {
            return Err(CommunicatorError::NoSuchRank { rank: root, last });
        }
        let length = Some(values.len());
        let operation = Operation {
            name: "broadcast",
            root,
            element_size: size_of::<T>(),
            length,
        };
        let outcome = self.meet(operation, values)?;
        for (value, brought) in values.iter_mut().zip(numbers(&outcome[root])) {
            *value = brought;
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
