//! The cores that a process may use, beside those of its machine.

use std::num::NonZero;

use clipn::count::count;
use clipn::launcher::Launcher;

/// Cores of a process and of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cores {
    /// Cores that this process may use.
    pub(crate) available: usize,
    /// Cores of the machine or of the container, or those that Slurm gave to its tasks on this machine.
    pub(crate) machine: usize,
    /// Processes of the launcher on this machine.
    pub(crate) processes: usize,
}

impl Cores {
    /// Reads the cores of this process; `None` if the system does not report those of the machine, as
    /// only Linux does.
    pub(crate) fn of_this_process() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let processes = local_processes(variable);
        Some(Self {
            available: available(),
            machine: of_machine()?.min(of_slurm(variable, processes)),
            processes,
        })
    }

    /// Cores of the machine divided among its processes, at least 1.
    pub(crate) fn share(self) -> usize {
        (self.machine / self.processes.max(1)).max(1)
    }

    /// Threads of a process by default: its cores, but no more than its share of a machine on which it
    /// is not bound to cores of its own.
    pub(crate) fn default_threads() -> usize {
        match Self::of_this_process() {
            Some(cores) => cores.available.min(cores.share()),
            None => available(),
        }
    }

    /// What gives each process its share.
    pub(crate) fn advice(self, launcher: Option<Launcher>) -> String {
        let share = self.share();
        match launcher {
            Some(Launcher::OpenMpi) => {
                format!("start with `mpirun --map-by slot:PE={share}`, or `--bind-to none`")
            }
            Some(Launcher::Slurm) => format!("start with `srun --cpus-per-task={share}`"),
            Some(Launcher::Pmi) => format!(
                "start with `mpiexec -bind-to none`, or under Slurm with `srun --cpus-per-task={share}`"
            ),
            _ => format!("give each process {}", count(share, "core")),
        }
    }
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Number of processes that the launcher started on this machine, 1 if it does not say.
fn local_processes(variable: impl Fn(&str) -> Option<String>) -> usize {
    // Slurm lists the tasks of each node, as in `4(x2),3`: the first are the most.
    let leading = |text: String| {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text[..digits].parse::<usize>().ok()
    };
    [
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "MPI_LOCALNRANKS",
        "SLURM_STEP_TASKS_PER_NODE",
    ]
    .iter()
    .find_map(|name| leading(variable(name)?))
    .unwrap_or(1)
    .max(1)
}

/// Cores that Slurm gave to the tasks of this machine: on a shared machine, the others are other users'.
fn of_slurm(variable: impl Fn(&str) -> Option<String>, processes: usize) -> usize {
    let number = |name| variable(name)?.trim().parse::<usize>().ok();
    let per_task = number("SLURM_CPUS_PER_TASK").map(|cores| cores.saturating_mul(processes));
    per_task
        .or_else(|| number("SLURM_CPUS_ON_NODE"))
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Cores of the machine: those that are online, or fewer if a container is limited to some.
fn of_machine() -> Option<usize> {
    let online = cpus_in(&std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?)?;
    let container = std::fs::read_to_string("/sys/fs/cgroup/cpuset.cpus.effective");
    let container = container.ok().and_then(|list| cpus_in(&list));
    Some(container.map_or(online, |cores| cores.min(online)))
}

/// Number of cores in a list such as `0-3,8`.
fn cpus_in(list: &str) -> Option<usize> {
    let mut total = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        total += (last + 1).checked_sub(first)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lists_of_cores() {
        assert_eq!(cpus_in("0-63\n"), Some(64));
        assert_eq!(cpus_in("0-3,8,10-11"), Some(7));
        assert_eq!(cpus_in("0"), Some(1));
        for invalid in ["", "a", "3-1", "1-"] {
            assert_eq!(cpus_in(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn cores_of_slurm_are_those_of_the_tasks() {
        let of = |variables: &[(&str, &str)], processes| {
            let variable = |name: &str| {
                let set = variables.iter().find(|(n, _)| *n == name);
                set.map(|(_, value)| (*value).to_owned())
            };
            of_slurm(variable, processes)
        };
        let per_task = ("SLURM_CPUS_PER_TASK", "4");
        let on_node = ("SLURM_CPUS_ON_NODE", "16");
        assert_eq!(of(&[per_task, on_node], 2), 8);
        assert_eq!(of(&[on_node], 2), 16);
        assert_eq!(of(&[], 2), usize::MAX);
        assert_eq!(of(&[("SLURM_CPUS_ON_NODE", "many")], 2), usize::MAX);
    }

    #[test]
    fn local_processes_are_those_of_the_launcher() {
        let of = |name: &'static str, value: &'static str| {
            local_processes(move |variable| (variable == name).then(|| value.to_owned()))
        };
        assert_eq!(of("OMPI_COMM_WORLD_LOCAL_SIZE", "4"), 4);
        assert_eq!(of("MPI_LOCALNRANKS", "2"), 2);
        assert_eq!(of("SLURM_STEP_TASKS_PER_NODE", "8(x3),2"), 8);
        assert_eq!(of("OTHER", "4"), 1);
        assert_eq!(of("MPI_LOCALNRANKS", "none"), 1);
    }

    #[test]
    fn advice_names_the_flag_of_the_launcher() {
        let cores = Cores {
            available: 1,
            machine: 64,
            processes: 2,
        };
        assert_eq!(cores.share(), 32);
        for (launcher, expected) in [
            (Some(Launcher::OpenMpi), "mpirun --map-by slot:PE=32"),
            (Some(Launcher::Slurm), "srun --cpus-per-task=32"),
            (Some(Launcher::Pmi), "mpiexec -bind-to none"),
            (None, "32 cores"),
        ] {
            let advice = cores.advice(launcher);
            assert!(advice.contains(expected), "{advice}");
        }
    }
}
