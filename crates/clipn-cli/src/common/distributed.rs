//! Work on several processes that MPI connects: their start, their messages, their end.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use clipn::count::count;
use clipn::dataset::ImageSet;
use clipn::evaluation::{EvaluationError, EvaluationPeers, Evaluator};
use clipn::launcher::{Launched, Launcher};
use clipn::simd::SimdLevel;
use clipn::training::{Communicator, Mpi, MpiSettings, Reduction, SingleProcess};

use crate::common::cores::Cores;
use crate::common::error::{CliError, chain_in_one_line, report_of_rank};
use crate::common::interrupt;
use crate::common::messages::{Verbosity, detail, hint, note, warning};

/// Waiting time of ranks other than 0 before they report an error. If all ranks fail alike, rank 0
/// reports it once and ends the others meanwhile.
const TURN_OF_RANK_0: Duration = Duration::from_secs(5);

/// Waiting time between an error's report and the end of all ranks. MPICH's launcher loses what it has not
/// passed on yet when it ends them.
const TIME_TO_PASS_ON: Duration = Duration::from_millis(500);

/// Exit code of a Rust program that panics.
const PANIC: i32 = 101;

/// Connection of the processes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distributed {
    /// Connect them by MPI
    Mpi,
    /// Work alone, whatever launcher started the program
    None,
    /// Connect them by MPI if a launcher started more than one
    Auto,
}

/// Flags of work on several processes.
#[derive(Debug, Clone, Args)]
pub(crate) struct DistributedArgs {
    /// Connection of several processes, as `mpirun` or `srun` start them (docs/distributed.md)
    #[arg(
        long,
        value_enum,
        value_name = "mpi|none|auto",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub distributed: Distributed,
    /// MPI library to load [default: the first that is found]
    #[arg(long, value_name = "FILE", env = Mpi::LIBRARY_VARIABLE)]
    pub mpi_library: Option<PathBuf>,
}

/// The ranks of this run.
pub(crate) type Ranks = Arc<dyn Communicator>;

/// Ranks that evaluate together.
pub(crate) struct EvaluationRanks(pub(crate) Ranks);

impl fmt::Debug for EvaluationRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.0.rank(), self.0.world_size())
    }
}

impl EvaluationRanks {
    /// Shares the work of an evaluator, if there are several ranks.
    pub(crate) fn share<'a>(&'a self, evaluator: Evaluator<'a>) -> Evaluator<'a> {
        match self.0.world_size() {
            1 => evaluator,
            _ => evaluator.with_peers(self),
        }
    }

    /// Checks that all ranks describe their part of the work alike. Each scores some of the images, so that figures of
    /// other images, weights or flags would be mixed. A single process has nothing to describe.
    pub(crate) fn check_same(
        &self,
        describe: impl FnOnce() -> Result<Vec<(String, String)>, CliError>,
    ) -> Result<(), CliError> {
        if self.0.world_size() == 1 {
            return Ok(());
        }
        let own = describe()?;
        let failed = clipn::training::TrainingError::from;
        let all = self.0.all_gather_bytes(&serde_json::to_vec(&own)?);
        let all = all.map_err(failed)?;
        let parsed = all.iter().map(|bytes| serde_json::from_slice(bytes));
        let all: Vec<Vec<(String, String)>> = parsed.collect::<Result<_, _>>()?;
        let [root, others @ ..] = &all[..] else {
            return Ok(());
        };
        for (rank, other) in others.iter().enumerate() {
            if other == root {
                continue;
            }
            let pairs = other.iter().zip(root);
            let different = pairs.into_iter().find(|(a, b)| a != b);
            let what = match different {
                Some(((what, value), (expected_what, expected))) if what == expected_what => {
                    format!("{what} {value}, expected {expected}")
                }
                Some(((what, _), (expected, _))) => format!("{what}, expected {expected}"),
                None => format!("{} sets and models, expected {}", other.len(), root.len()),
            };
            let rank = rank + 1;
            return Err(clipn::training::TrainingError::RanksDiffer { rank, what }.into());
        }
        Ok(())
    }

    /// Returns what this rank prepared, if all ranks have; a notice may reach one of them alone. The others
    /// would wait for its images.
    pub(crate) fn agree<R>(&self, own: Result<R, CliError>) -> Result<R, CliError> {
        let problem = match &own {
            Ok(_) => String::new(),
            Err(error) => chain_in_one_line(error),
        };
        let problems = self.0.all_gather_bytes(problem.as_bytes());
        let problems = problems.map_err(clipn::training::TrainingError::from)?;
        let own = own?;
        match problems.iter().position(|problem| !problem.is_empty()) {
            Some(rank) => Err(EvaluationError::PeerFailed {
                rank,
                problem: String::from_utf8_lossy(&problems[rank]).into_owned(),
            }
            .into()),
            None => Ok(own),
        }
    }
}

/// Describes this program, to compare ranks.
pub(crate) fn describe_program() -> [(String, String); 2] {
    [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("instruction set", SimdLevel::current().to_string()),
    ]
    .map(|(what, value)| (what.to_owned(), value))
}

/// Describes the images of a set, to compare ranks: copies on several machines have equal paths below their root,
/// labels, and sizes of files.
pub(crate) fn describe_set(set: &ImageSet) -> (String, String) {
    let mut digest = crc32fast::Hasher::new();
    let mut add = |path: &Path, label: Option<usize>| {
        let below = path.strip_prefix(&set.root).unwrap_or(path);
        digest.update(below.as_os_str().as_encoded_bytes());
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let label = label.map_or(u64::MAX, |label| label as u64);
        for number in [size, label] {
            digest.update(&number.to_le_bytes());
        }
    };
    for sample in &set.samples {
        add(&sample.path, sample.label);
    }
    for container in set.archives.iter().chain(&set.table) {
        add(container, None);
    }
    (
        format!("images of {}", set.name),
        format!("{} (digest {:08x})", set.len(), digest.finalize()),
    )
}

impl EvaluationPeers for EvaluationRanks {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn world_size(&self) -> usize {
        self.0.world_size()
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.all_gather_bytes(bytes)?)
    }
}

/// The ranks that MPI connects, for signal handlers.
static CONNECTED: OnceLock<Ranks> = OnceLock::new();

impl DistributedArgs {
    /// Whether the arguments and the launcher mean several processes, and how many.
    pub(crate) fn announced(&self) -> Option<(Launcher, usize)> {
        match self.distributed {
            Distributed::None => None,
            _ => Launcher::announced_in_environment().filter(|(_, processes)| *processes > 1),
        }
    }

    /// Connects the processes. Ranks other than 0 print nothing but errors from here on.
    fn connect(&self, reduction: Reduction) -> Result<Ranks, CliError> {
        let is_wanted = match self.distributed {
            Distributed::Mpi => true,
            Distributed::None => false,
            Distributed::Auto => self.announced().is_some(),
        };
        if !is_wanted {
            return Ok(Arc::new(SingleProcess));
        }
        if let Some((launcher, tasks)) = self.announced().filter(|(by, _)| is_job_script(*by)) {
            return Err(CliError::usage_with_hint(
                job_script_problem(launcher, tasks),
                "start with `srun --mpi=pmix` (Open MPI) or `srun --mpi=pmi2` (MPICH), or work alone with \
                 --distributed none",
            ));
        }
        let settings = MpiSettings::default()
            .with_library(self.mpi_library.clone())
            .with_reduction(reduction);
        let mpi = interrupt::exit_at_once_during(|| Mpi::open(&settings));
        let mpi = mpi.map_err(clipn::training::TrainingError::from)?;
        if mpi.rank() > 0 {
            Verbosity::Silent.set();
        }
        detail(format_args!(
            "{} ranks by {}, {} ({})",
            mpi.world_size(),
            mpi.version(),
            mpi.library().display(),
            mpi.abi()
        ));
        if reduction == Reduction::Library {
            note("--reduce library: sums are in MPI's order, so runs are not reproducible");
        }
        let ranks: Ranks = Arc::new(mpi);
        let _ = CONNECTED.set(Arc::clone(&ranks));
        warn_of_few_cores(&*ranks)?;
        Ok(ranks)
    }

    /// Runs `work` on the ranks of the launcher, or alone. An error or a panic on one rank ends all.
    pub(crate) fn run(
        &self,
        reduction: Reduction,
        work: impl FnOnce(&Ranks) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let ranks = match self.connect(reduction) {
            Ok(ranks) => ranks,
            Err(error) => return Err(self.report_unconnected(error)),
        };
        let world = ranks.world_size();
        if CONNECTED.get().is_none() {
            return work(&ranks);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&ranks)));
        match outcome {
            Ok(Ok(())) => finish(&*ranks),
            // All ranks have stopped after the same step.
            Ok(Err(error)) if error.is_agreed() => {
                finish(&*ranks)?;
                match ranks.rank() {
                    0 => Err(error),
                    _ => std::process::exit(error.exit_status().into()),
                }
            }
            Ok(Err(error)) if error.is_closed_pipe() => end(&*ranks, crate::CLOSED_PIPE.into()),
            Ok(Err(error)) => {
                if ranks.rank() > 0 {
                    std::thread::sleep(TURN_OF_RANK_0);
                }
                report_of_rank(&error, ranks.rank(), world);
                end(&*ranks, error.exit_status().into())
            }
            Err(panic) => {
                std::thread::sleep(TIME_TO_PASS_ON);
                ranks.abort(PANIC);
                resume_unwind(panic)
            }
        }
    }

    /// Reports why ranks are not connected. Processes of a launcher do not return: see [`kill_self`].
    fn report_unconnected(&self, error: CliError) -> CliError {
        let launched =
            Launched::from_variables(&Launcher::MPI_FIRST, |name| std::env::var(name).ok());
        let Ok(Some(launched)) = launched else {
            return error;
        };
        if self.announced().is_none_or(|(by, _)| is_job_script(by)) {
            return error;
        }
        if launched.rank > 0 {
            std::thread::sleep(TURN_OF_RANK_0);
        }
        report_of_rank(&error, launched.rank, launched.world_size);
        std::thread::sleep(TIME_TO_PASS_ON);
        kill_self();
        error
    }
}

/// Ends this process by a signal, upon which launchers end the others. They do not if a process exits
/// with an error before it is connected: the others would wait for it in `MPI_Init` forever.
#[cfg(unix)]
fn kill_self() {
    // No other signal ends a process without a dump of its memory that it may not block.
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
}

#[cfg(not(unix))]
fn kill_self() {
    std::process::abort();
}

/// Runs `work` on rank 0, then on all others: what it downloads or caches is there for them.
pub(crate) fn rank_0_first<R>(
    ranks: &Ranks,
    work: impl FnOnce() -> Result<R, CliError>,
) -> Result<R, CliError> {
    let wait = || {
        ranks
            .barrier()
            .map_err(clipn::training::TrainingError::from)
    };
    if ranks.rank() == 0 {
        let result = work()?;
        wait()?;
        Ok(result)
    } else {
        wait()?;
        work()
    }
}

/// Message for a job script of `tasks` tasks that starts the program itself.
pub(crate) fn job_script_problem(launcher: Launcher, tasks: usize) -> String {
    let size = launcher.size_variable();
    format!("{size} is {tasks}, but this process is the job script, which runs once")
}

fn is_job_script(launcher: Launcher) -> bool {
    launcher.is_job_script(|name| std::env::var(name).ok())
}

/// Refuses to run a command in each of several processes, which would write the same files.
pub(crate) fn refuse_several(command: &str) -> Result<(), CliError> {
    match Launcher::announced_in_environment() {
        Some((launcher, processes)) if processes > 1 && !is_job_script(launcher) => {
            Err(CliError::usage_with_hint(
                format!(
                    "`{command}` runs in one process, but {} is {processes}",
                    launcher.size_variable()
                ),
                "run its commands one by one under the launcher, or start it without one",
            ))
        }
        _ => Ok(()),
    }
}

/// Ends the processes of all ranks, if there are several.
pub(crate) fn abort_all(code: i32) {
    if let Some(ranks) = CONNECTED.get() {
        ranks.abort(code);
    }
}

/// Shuts the connection down after the last operation.
fn finish(ranks: &dyn Communicator) -> Result<(), CliError> {
    // What is printed must not be lost if a launcher ends its processes at once.
    std::io::stdout().flush().map_err(CliError::Output)?;
    ranks
        .finish()
        .map_err(|error| clipn::training::TrainingError::from(error).into())
}

/// Ends all ranks after an error that this one may have reported.
fn end(ranks: &dyn Communicator, code: i32) -> ! {
    std::thread::sleep(TIME_TO_PASS_ON);
    ranks.abort(code);
    std::process::exit(code)
}

/// Warns of ranks that see fewer cores than their share of the machine, as launchers that bind
/// processes to cores cause.
fn warn_of_few_cores(ranks: &dyn Communicator) -> Result<(), CliError> {
    let Some(cores) = Cores::of_this_process() else {
        return gather_few(ranks, None);
    };
    gather_few(ranks, Some(cores))
}

fn gather_few(ranks: &dyn Communicator, cores: Option<Cores>) -> Result<(), CliError> {
    let own = cores.filter(|cores| cores.available < cores.share());
    let bytes: Vec<u8> = own.map_or_else(Vec::new, |cores| {
        [cores.available, cores.machine, cores.processes]
            .iter()
            .flat_map(|count| (*count as u64).to_le_bytes())
            .collect()
    });
    let all = ranks
        .all_gather_bytes(&bytes)
        .map_err(clipn::training::TrainingError::from)?;
    let few: Vec<(usize, &Vec<u8>)> = (all.iter().enumerate())
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    let Some((rank, bytes)) = few.first() else {
        return Ok(());
    };
    let words: Vec<usize> = (bytes.as_chunks().0.iter())
        .map(|word| u64::from_le_bytes(*word) as usize)
        .collect();
    let &[available, machine, processes] = &words[..] else {
        return Ok(());
    };
    let cores = Cores {
        available,
        machine,
        processes,
    };
    warning(format_args!(
        "rank {rank} may use {available} of {}, fewer than the machine has for each of its \
         {processes} ranks; ranks with too few cores: {} of {}",
        count(machine, "core"),
        few.len(),
        ranks.world_size(),
    ));
    hint(cores.advice(Launcher::announced_in_environment().map(|(launcher, _)| launcher)));
    Ok(())
}
