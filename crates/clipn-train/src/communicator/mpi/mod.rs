//! Ranks as processes that an MPI library connects, loaded at run time.
//!
//! Sums are made of all-to-all and all-gather and added in rank order, so they have the same bits with
//! every library, every number of calls and every size of a call. `MPI_Allreduce` promises neither.

mod abi;
mod library;

pub use abi::MpiAbi;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;

use clipn_base::launcher::Launcher;
use clipn_model::Real;

use self::abi::{Handle, Handles, candidates};
use self::library::MpiLibrary;
use super::operation::{Operation, OperationKind};
use super::{Collective, Communicator, CommunicatorError, Gathered, share};

/// How gradients are summed over ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reduction {
    /// Each rank adds a part of the values in rank order: the same bits in every run.
    #[default]
    Shares,
    /// `MPI_Allreduce`: the library's own order, which may change with the library, the number of
    /// values and the number of calls. Runs are not reproducible.
    Library,
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shares => "shares",
            Self::Library => "library",
        })
    }
}

impl FromStr for Reduction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "shares" => Ok(Self::Shares),
            "library" => Ok(Self::Library),
            _ => Err("expected shares or library".to_owned()),
        }
    }
}

/// Settings of an [`Mpi`] communicator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MpiSettings {
    /// Path or name of the library; `None` for the first that the system has.
    pub library: Option<PathBuf>,
    /// How values are summed.
    pub reduction: Reduction,
    /// Maximum number of values in one call of MPI, at least 1. MPI counts with C ints; smaller calls
    /// need smaller buffers.
    pub max_values: usize,
}

impl Default for MpiSettings {
    /// Returns the first library found, [`Reduction::Shares`] and calls of at most 2²⁴ values.
    fn default() -> Self {
        Self {
            library: None,
            reduction: Reduction::Shares,
            max_values: 1 << 24,
        }
    }
}

impl MpiSettings {
    /// Sets the library: a path, or a name that the system's loader finds.
    #[must_use]
    pub fn with_library(mut self, library: Option<PathBuf>) -> Self {
        self.library = library;
        self
    }

    /// Sets how values are summed.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets the maximum number of values in one call.
    #[must_use]
    pub fn with_max_values(mut self, max_values: usize) -> Self {
        self.max_values = max_values;
        self
    }
}

/// Endpoint of a process in a world that an MPI library connects.
///
/// A process can open one, once. [`finish`](Communicator::finish) shuts MPI down after the last
/// operation; an endpoint that is dropped without it, by an error or a panic, ends the processes of
/// all ranks, which would otherwise wait for this one forever.
///
/// ```no_run
/// use clipn_train::{Collective, Communicator, Mpi, MpiSettings};
///
/// let ranks = Mpi::open(&MpiSettings::default())?;
/// let mut sum = [ranks.rank() as f64];
/// ranks.all_reduce_sum(&mut sum)?;
/// println!("{} ranks, sum {}", ranks.world_size(), sum[0]);
/// ranks.finish()?;
/// # Ok::<(), clipn_train::CommunicatorError>(())
/// ```
#[derive(Debug)]
pub struct Mpi {
    library: MpiLibrary,
    version: String,
    rank: usize,
    world_size: usize,
    reduction: Reduction,
    max_values: usize,
    is_finished: AtomicBool,
    /// Reused memory for the parts of other ranks, aligned for every type of value. The lock also makes
    /// calls of several threads follow one another.
    received: Mutex<Vec<u64>>,
}

impl Mpi {
    /// Environment variable with the path or name of the library, if the settings have none.
    pub const LIBRARY_VARIABLE: &'static str = "CLIPN_MPI";

    /// Loads an MPI library and connects to the other processes of the launcher. Without a launcher,
    /// it is a world of one process.
    ///
    /// # Errors
    /// [`CommunicatorError::NoMpi`] if no library is found, [`CommunicatorError::MpiLibrary`] if the
    /// chosen one cannot be used, [`CommunicatorError::MpiState`] if the process uses MPI already,
    /// [`CommunicatorError::ThreadSupport`], [`CommunicatorError::WorldMismatch`] if the launcher
    /// started another number of processes than MPI connects, [`CommunicatorError::Mpi`].
    pub fn open(settings: &MpiSettings) -> Result<Self, CommunicatorError> {
        let announced = Launcher::announced_in_environment();
        let chosen = settings.library.clone().or_else(|| {
            std::env::var_os(Self::LIBRARY_VARIABLE)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        });
        let library = load(chosen.as_deref(), announced.map(|(launcher, _)| launcher))?;
        library.initialize()?;
        let (rank, world_size) = library.rank_and_size()?;
        let mpi = Self {
            version: library.version(),
            library,
            rank,
            world_size,
            reduction: settings.reduction,
            max_values: settings.max_values.max(1),
            is_finished: AtomicBool::new(false),
            received: Mutex::default(),
        };
        match announced {
            Some((launcher, announced)) if announced != world_size => {
                let mismatch = CommunicatorError::WorldMismatch {
                    variable: launcher.size_variable(),
                    announced,
                    found: world_size,
                    library: mpi.library.path().display().to_string(),
                };
                // Every process of such a world fails here, so none has to be ended by another.
                if world_size == 1 {
                    mpi.finish()?;
                }
                mpi.is_finished.store(true, Ordering::SeqCst);
                Err(mismatch)
            }
            _ => Ok(mpi),
        }
    }

    /// Returns the path or name of the library.
    pub fn library(&self) -> &Path {
        self.library.path()
    }

    /// Returns the binary interface of the library.
    pub fn abi(&self) -> MpiAbi {
        self.library.abi()
    }

    /// Returns the name and version that the library gives.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns how values are summed.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn lock(&self) -> Result<MutexGuard<'_, Vec<u64>>, CommunicatorError> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_finished.load(Ordering::SeqCst) {
            return Err(CommunicatorError::MpiState { state: "finalized" });
        }
        Ok(received)
    }

    /// Checks that all ranks called the same operation, and returns the length of each.
    fn agree(&self, operation: Operation) -> Result<Vec<usize>, CommunicatorError> {
        const WORDS: usize = Operation::WORDS;
        let own = operation.encode();
        let mut all = vec![0u64; WORDS * self.world_size];
        self.library.allgather(
            bytemuck::cast_slice(&own),
            bytemuck::cast_slice_mut(&mut all),
        )?;
        let operations = || {
            let words = all.as_chunks::<WORDS>().0.iter();
            words.map(|&words| Operation::decode(words))
        };
        Operation::check_same(operations())?;
        Ok(operations().map(|operation| operation.length).collect())
    }

    /// Gathers values, in calls of at most `max_values` over all ranks.
    fn gather<T: Pod>(
        &self,
        values: &[T],
        lengths: &[usize],
        datatype: Handle,
    ) -> Result<Vec<T>, CommunicatorError> {
        let each = (self.max_values / self.world_size).max(1);
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut gathered = vec![T::zeroed(); lengths.iter().sum()];
        if longest <= each {
            self.library
                .allgatherv(values, &mut gathered, &consecutive(lengths), datatype)?;
            return Ok(gathered);
        }
        let mut part = Vec::new();
        for first in (0..longest).step_by(each) {
            let counts: Vec<usize> = lengths
                .iter()
                .map(|length| length.saturating_sub(first).min(each))
                .collect();
            part.resize(counts.iter().sum(), T::zeroed());
            let own = values.get(first..).unwrap_or_default();
            let own = &own[..own.len().min(each)];
            let parts = consecutive(&counts);
            self.library.allgatherv(own, &mut part, &parts, datatype)?;
            for (from, of_rank) in parts.into_iter().zip(consecutive(lengths)) {
                let to = of_rank.end.min(of_rank.start + first);
                gathered[to..to + from.len()].copy_from_slice(&part[from]);
            }
        }
        Ok(gathered)
    }

    /// Returns the next values of each rank's share, as many as fit in a call; nothing after the last.
    fn pieces(&self, length: usize) -> impl Iterator<Item = Vec<Range<usize>>> + use<> {
        let ranks = self.world_size;
        let each = (self.max_values / ranks).max(1);
        let longest = length.div_ceil(ranks);
        (0..longest).step_by(each).map(move |first| {
            let piece = |rank| {
                let share = share(length, rank, ranks);
                let start = share.end.min(share.start + first);
                start..share.end.min(start + each)
            };
            (0..ranks).map(piece).collect()
        })
    }

    /// Sums this rank's piece in place: it gets that piece of everyone's values, and adds in rank order.
    fn sum_piece<T: Real>(
        &self,
        values: &mut [T],
        pieces: &[Range<usize>],
        received: &mut Vec<u64>,
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        let own = pieces[self.rank].clone();
        // A rank sends itself nothing, which would pass through its memory twice.
        let mut sent = pieces.to_vec();
        sent[self.rank] = own.start..own.start;
        let mut lengths = vec![own.len(); self.world_size];
        lengths[self.rank] = 0;
        let received = of_type::<T>(received, lengths.iter().sum());
        let parts = consecutive(&lengths);
        self.library
            .alltoallv(values, &sent, received, &parts, datatype)?;
        let (before, after) = received.split_at_mut(own.len() * self.rank);
        add_in_order(&mut values[own], before, after);
        Ok(())
    }

    fn sum_by_library<T: Pod>(
        &self,
        values: &mut [T],
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        for part in values.chunks_mut(self.max_values) {
            self.library.allreduce(part, datatype)?;
        }
        Ok(())
    }

    /// Checks that all ranks call the same operation on as many values, and returns their type.
    fn begin<T: Datatype>(
        &self,
        kind: OperationKind,
        root: usize,
        values: &[T],
    ) -> Result<Handle, CommunicatorError> {
        self.agree(Operation::new::<T>(kind, root, values.len()))?;
        Ok(T::datatype(self.library.handles()))
    }
}

/// Returns the parts of a buffer that have these lengths and follow one another.
fn consecutive(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let part = |length: &usize| {
        let start = end;
        end += length;
        start..end
    };
    lengths.iter().map(part).collect()
}

/// Replaces `own` by its sum with the terms of the ranks before and of those after, added in rank order.
/// `before` and `after` hold as many values of each rank, one rank behind the other; `before` is overwritten.
fn add_in_order<T: Real>(own: &mut [T], before: &mut [T], after: &[T]) {
    let length = own.len().max(1);
    if let Some((sum, terms)) = before.split_at_mut_checked(length) {
        for term in terms.chunks_exact(length) {
            add(sum, term);
        }
        for (own, &sum) in own.iter_mut().zip(&*sum) {
            *own = sum + *own;
        }
    }
    for term in after.chunks_exact(length) {
        add(own, term);
    }
}

fn add<T: Real>(sum: &mut [T], terms: &[T]) {
    for (sum, &term) in sum.iter_mut().zip(terms) {
        *sum = *sum + term;
    }
}

/// Returns the first `length` values of reused memory, which grows if needed.
fn of_type<T: Pod>(memory: &mut Vec<u64>, length: usize) -> &mut [T] {
    let words = (length * size_of::<T>()).div_ceil(size_of::<u64>());
    if memory.len() < words {
        memory.resize(words, 0);
    }
    &mut bytemuck::cast_slice_mut(memory)[..length]
}

/// Loads the chosen library, or the first that works.
fn load(
    chosen: Option<&Path>,
    launcher: Option<Launcher>,
) -> Result<MpiLibrary, CommunicatorError> {
    if let Some(path) = chosen {
        return MpiLibrary::open(path).map_err(|problem| CommunicatorError::MpiLibrary {
            path: path.to_owned(),
            problem,
        });
    }
    // Names by reason: most libraries are missing.
    let mut refusals: Vec<(Vec<String>, String)> = Vec::new();
    for path in candidates(launcher) {
        let problem = match MpiLibrary::open(&path) {
            Ok(library) => return Ok(library),
            Err(problem) => problem,
        };
        let name = path.display().to_string();
        match refusals.iter_mut().find(|(_, known)| *known == problem) {
            Some((names, _)) => names.push(name),
            None => refusals.push((vec![name], problem)),
        }
    }
    let refusals = refusals.into_iter();
    Err(CommunicatorError::NoMpi {
        refusals: refusals
            .map(|(names, problem)| format!("{}: {problem}", names.join(", ")))
            .collect(),
    })
}

/// Types of values that MPI knows.
trait Datatype: Real {
    fn datatype(handles: &Handles) -> Handle;
}

impl Datatype for f32 {
    fn datatype(handles: &Handles) -> Handle {
        handles.float
    }
}

impl Datatype for f64 {
    fn datatype(handles: &Handles) -> Handle {
        handles.double
    }
}

impl<T: Datatype> Collective<T> for Mpi {
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError> {
        let _serial = self.lock()?;
        let operation = Operation::new::<T>(OperationKind::AllGather, 0, values.len());
        let lengths = self.agree(operation)?;
        let datatype = T::datatype(self.library.handles());
        let gathered = self.gather(values, &lengths, datatype)?;
        Ok(Gathered::new(gathered, lengths))
    }

    fn all_reduce_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let mut received = self.lock()?;
        let datatype = self.begin(OperationKind::AllReduceSum, 0, values)?;
        match self.reduction {
            Reduction::Shares => {
                for pieces in self.pieces(values.len()) {
                    self.sum_piece(values, &pieces, &mut received, datatype)?;
                    self.library
                        .allgatherv_in_place(values, &pieces, datatype)?;
                }
                Ok(())
            }
            Reduction::Library => self.sum_by_library(values, datatype),
        }
    }

    fn reduce_scatter_sum(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let mut received = self.lock()?;
        let datatype = self.begin(OperationKind::ReduceScatterSum, 0, values)?;
        match self.reduction {
            Reduction::Shares => {
                for pieces in self.pieces(values.len()) {
                    self.sum_piece(values, &pieces, &mut received, datatype)?;
                }
                Ok(())
            }
            Reduction::Library => self.sum_by_library(values, datatype),
        }
    }

    fn all_gather_shares(&self, values: &mut [T]) -> Result<(), CommunicatorError> {
        let _serial = self.lock()?;
        let datatype = self.begin(OperationKind::AllGatherShares, 0, values)?;
        for pieces in self.pieces(values.len()) {
            self.library
                .allgatherv_in_place(values, &pieces, datatype)?;
        }
        Ok(())
    }

    fn broadcast(&self, root: usize, values: &mut [T]) -> Result<(), CommunicatorError> {
        let last = self.world_size - 1;
        if root > last {
            return Err(CommunicatorError::InvalidRoot { rank: root, last });
        }
        let _serial = self.lock()?;
        let datatype = self.begin(OperationKind::Broadcast, root, values)?;
        for part in values.chunks_mut(self.max_values) {
            self.library.bcast(part, root, datatype)?;
        }
        Ok(())
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        let _serial = self.lock()?;
        let operation = Operation::new::<u8>(OperationKind::AllGatherBytes, 0, bytes.len());
        let lengths = self.agree(operation)?;
        let gathered = self.gather(bytes, &lengths, self.library.handles().byte)?;
        let mut rest = &gathered[..];
        Ok(lengths
            .iter()
            .map(|&length| {
                let (own, others) = rest.split_at(length);
                rest = others;
                own.to_vec()
            })
            .collect())
    }

    fn barrier(&self) -> Result<(), CommunicatorError> {
        let _serial = self.lock()?;
        self.library.barrier()
    }

    fn abort(&self, code: i32) {
        if !self.is_finished.load(Ordering::SeqCst) {
            self.library.abort(code);
        }
    }

    fn finish(&self) -> Result<(), CommunicatorError> {
        let _serial = self.lock()?;
        self.is_finished.store(true, Ordering::SeqCst);
        self.library.finalize()
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // The other ranks would wait for this one.
        self.abort(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums the terms of all ranks in rank order, on every rank from another place.
    #[test]
    fn sums_in_place_have_the_bits_of_sums_in_rank_order() {
        let terms = [
            [1e8f32, 0.1, -3.0],
            [1.0, 1e-9, 0.3],
            [-1e8, 0.7, 1e7],
            [0.3, -0.1, 0.1],
        ];
        for ranks in 1..=terms.len() {
            let mut expected = terms[0];
            for term in &terms[1..ranks] {
                add(&mut expected, term);
            }
            for rank in 0..ranks {
                let mut own = terms[rank];
                let mut before = terms[..rank].concat();
                let after = terms[rank + 1..ranks].concat();
                add_in_order(&mut own, &mut before, &after);
                assert_eq!(
                    own.map(f32::to_bits),
                    expected.map(f32::to_bits),
                    "rank {rank} of {ranks}"
                );
            }
        }
        add_in_order::<f32>(&mut [], &mut [], &[]);
    }
}
