//! Which of several processes this one is, from the variables that launchers such as `mpirun`, `srun`
//! and `torchrun` set.
//!
//! ```
//! use clipn_base::launcher::{Launcher, Launched};
//!
//! let variables = |name: &str| match name {
//!     "SLURM_PROCID" => Some("1".to_owned()),
//!     "SLURM_NTASKS" => Some("4".to_owned()),
//!     _ => None,
//! };
//! let launched = Launched::from_variables(&Launcher::ALL, variables)?;
//! let expected = Launched { launcher: Launcher::Slurm, rank: 1, world_size: 4 };
//! assert_eq!(launched, Some(expected));
//! # Ok::<(), clipn_base::launcher::LauncherError>(())
//! ```

use std::fmt;

use thiserror::Error;

/// A launcher of several processes, known by the variables that it sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// `torchrun` and job scripts: `RANK` and `WORLD_SIZE`.
    Torchrun,
    /// `mpirun` of Open MPI: `OMPI_COMM_WORLD_RANK` and `OMPI_COMM_WORLD_SIZE`.
    OpenMpi,
    /// `mpiexec` of MPICH and what speaks its process interface: `PMI_RANK` and `PMI_SIZE`.
    Pmi,
    /// `srun` of Slurm: `SLURM_PROCID` and `SLURM_NTASKS`.
    Slurm,
}

impl Launcher {
    /// All launchers. Slurm is last: if `mpirun` runs inside a Slurm allocation, Slurm's variables
    /// describe the one task that called `mpirun`.
    pub const ALL: [Self; 4] = [Self::Torchrun, Self::OpenMpi, Self::Pmi, Self::Slurm];

    /// All launchers, those that start MPI programs first.
    pub const MPI_FIRST: [Self; 4] = [Self::OpenMpi, Self::Pmi, Self::Slurm, Self::Torchrun];

    /// Returns the variable with the index of the process.
    pub const fn rank_variable(self) -> &'static str {
        match self {
            Self::Torchrun => "RANK",
            Self::OpenMpi => "OMPI_COMM_WORLD_RANK",
            Self::Pmi => "PMI_RANK",
            Self::Slurm => "SLURM_PROCID",
        }
    }

    /// Returns the variable with the number of processes.
    pub const fn size_variable(self) -> &'static str {
        match self {
            Self::Torchrun => "WORLD_SIZE",
            Self::OpenMpi => "OMPI_COMM_WORLD_SIZE",
            Self::Pmi => "PMI_SIZE",
            Self::Slurm => "SLURM_NTASKS",
        }
    }

    /// Whether this process is a job script, `variable` being its environment: Slurm sets the variables of
    /// the tasks there too, but runs the script once. Only `srun` sets the number of a step.
    pub fn is_job_script(self, variable: impl Fn(&str) -> Option<String>) -> bool {
        self == Self::Slurm && variable("SLURM_STEP_ID").is_none()
    }

    /// Returns the number of processes that the first launcher of `launchers` names, with that
    /// launcher; `None` if no variable has a number.
    pub fn announced(
        launchers: &[Self],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<(Self, usize)> {
        launchers.iter().find_map(|&launcher| {
            let size = variable(launcher.size_variable())?;
            Some((launcher, size.trim().parse().ok()?))
        })
    }

    /// Same as [`announced`](Self::announced), from the environment of this process, with the
    /// launchers of MPI programs first.
    pub fn announced_in_environment() -> Option<(Self, usize)> {
        Self::announced(&Self::MPI_FIRST, |name| std::env::var(name).ok())
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchrun => "torchrun",
            Self::OpenMpi => "Open MPI",
            Self::Pmi => "MPICH",
            Self::Slurm => "Slurm",
        })
    }
}

/// This process among those of a launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// The launcher.
    pub launcher: Launcher,
    /// Index of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
}

/// Error in the variables of a launcher.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LauncherError {
    /// One of two variables is missing.
    #[error("{set} is set, but {unset} is not")]
    Unpaired {
        /// The variable that is set.
        set: &'static str,
        /// The variable that is missing.
        unset: &'static str,
    },
    /// A variable is not a whole number.
    #[error("expected a whole number in {variable}, got `{value}`")]
    NotANumber {
        /// Name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The index of the process is not below the number of processes.
    #[error("{rank_variable} {rank} is not below {size_variable} {world_size}")]
    RankOutOfRange {
        /// Variable of the index.
        rank_variable: &'static str,
        /// The index.
        rank: usize,
        /// Variable of the number of processes.
        size_variable: &'static str,
        /// The number of processes.
        world_size: usize,
    },
}

impl Launched {
    /// Reads the variables of the first launcher of `launchers` that set any; `None` if none did.
    ///
    /// # Errors
    /// [`LauncherError`] if the variables of that launcher are incomplete or no valid numbers.
    pub fn from_variables(
        launchers: &[Launcher],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, LauncherError> {
        for &launcher in launchers {
            let names = (launcher.rank_variable(), launcher.size_variable());
            let (rank, size) = match (variable(names.0), variable(names.1)) {
                (None, None) => continue,
                (Some(rank), Some(size)) => (rank, size),
                (rank, _) => {
                    let (set, unset) = if rank.is_some() {
                        names
                    } else {
                        (names.1, names.0)
                    };
                    return Err(LauncherError::Unpaired { set, unset });
                }
            };
            let number = |variable, value: String| match value.trim().parse::<usize>() {
                Ok(number) => Ok(number),
                Err(_) => Err(LauncherError::NotANumber { variable, value }),
            };
            let (rank, world_size) = (number(names.0, rank)?, number(names.1, size)?);
            if rank >= world_size {
                return Err(LauncherError::RankOutOfRange {
                    rank_variable: names.0,
                    rank,
                    size_variable: names.1,
                    world_size,
                });
            }
            return Ok(Some(Self {
                launcher,
                rank,
                world_size,
            }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn the_launcher_inside_an_allocation_precedes_slurm() {
        let both = [
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "3"),
            ("PMI_RANK", "1"),
            ("PMI_SIZE", "2"),
        ];
        let launched = Launched::from_variables(&Launcher::ALL, of(&both)).unwrap();
        assert_eq!(
            launched,
            Some(Launched {
                launcher: Launcher::Pmi,
                rank: 1,
                world_size: 2
            })
        );
        let announced = |variables| Launcher::announced(&Launcher::MPI_FIRST, of(variables));
        assert_eq!(announced(&both), Some((Launcher::Pmi, 2)));
        assert_eq!(announced(&both[..2]), Some((Launcher::Slurm, 3)));
        assert_eq!(announced(&[("PMI_SIZE", "many")]), None);
        assert_eq!(
            announced(&[("WORLD_SIZE", "8"), ("OMPI_COMM_WORLD_SIZE", "2")]),
            Some((Launcher::OpenMpi, 2))
        );
    }

    #[test]
    fn incomplete_and_invalid_variables_are_errors() {
        for (variables, message) in [
            (&[("RANK", "0")][..], "RANK is set, but WORLD_SIZE is not"),
            (
                &[("PMI_SIZE", "4")][..],
                "PMI_SIZE is set, but PMI_RANK is not",
            ),
            (
                &[("RANK", "4"), ("WORLD_SIZE", "4")][..],
                "RANK 4 is not below WORLD_SIZE 4",
            ),
            (
                &[("RANK", "x"), ("WORLD_SIZE", "4")][..],
                "expected a whole number in RANK, got `x`",
            ),
        ] {
            let error = Launched::from_variables(&Launcher::ALL, of(variables)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(Launched::from_variables(&Launcher::ALL, of(&[])), Ok(None));
    }
}
