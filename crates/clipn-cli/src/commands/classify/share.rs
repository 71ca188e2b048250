//! Which part of the work is this process's.

use std::path::{Path, PathBuf};

use super::args::ClassifyArgs;
use crate::common::error::CliError;

/// Variables with the number of a process and of all processes, by who sets them. Open MPI comes before Slurm: within an
/// allocation of Slurm that `mpirun` fills, Slurm's are those of the one task that called `mpirun`.
const LAUNCHERS: [(&str, &str); 3] = [
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
];

/// Part `index` of `of` parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub index: u64,
    pub of: u64,
}

impl Share {
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// What the flags say, or with `--distributed` the launcher; tells either, and a launcher that is not asked.
    pub fn of(args: &ClassifyArgs) -> Result<Self, CliError> {
        let variable = |name: &str| std::env::var(name).ok();
        if let (Some(index), Some(of)) = (args.shard_index, args.num_shards) {
            return Self::new(index, of, "--shard-index", "--num-shards");
        }
        if !args.distributed {
            let many = |name: &str| {
                variable(name)?
                    .parse()
                    .ok()
                    .filter(|&n: &u64| n > 1)
                    .map(|n| (name.to_owned(), n))
            };
            if let Some((name, n)) = LAUNCHERS.iter().find_map(|(_, size)| many(size)) {
                eprintln!(
                    "note: {name} is {n}, but this process takes all the pictures; --distributed deals them out"
                );
            }
            return Ok(Self::ALL);
        }
        let (share, said) = Self::from_launcher(variable)?;
        eprintln!(
            "part {} of {} of the work is this process's ({said})",
            share.index + 1,
            share.of
        );
        Ok(share)
    }

    fn new(index: u64, of: u64, index_name: &str, of_name: &str) -> Result<Self, CliError> {
        if index >= of {
            let message = format!(
                "{index_name} {index} is not below {of_name} {of}: parts are counted from 0"
            );
            return Err(CliError::Usage(message));
        }
        Ok(Self { index, of })
    }

    /// The part, and the variables that say so.
    fn from_launcher(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, String), CliError> {
        for (index_name, of_name) in LAUNCHERS {
            let (index, of) = match (variable(index_name), variable(of_name)) {
                (None, None) => continue,
                (Some(index), Some(of)) => (index, of),
                (index, _) => {
                    let (is, not) = if index.is_some() {
                        (index_name, of_name)
                    } else {
                        (of_name, index_name)
                    };
                    return Err(CliError::Usage(format!(
                        "--distributed: {is} is set, and {not} is not"
                    )));
                }
            };
            let number = |name: &str, text: &str| {
                text.trim().parse::<u64>().map_err(|_| {
                    CliError::Usage(format!(
                        "--distributed: {name} is `{text}`, which is no whole number"
                    ))
                })
            };
            let share = Self::new(
                number(index_name, &index)?,
                number(of_name, &of)?,
                index_name,
                of_name,
            )?;
            return Ok((share, format!("{index_name}={index}, {of_name}={of}")));
        }
        let names: Vec<&str> = LAUNCHERS.iter().map(|(index, _)| *index).collect();
        Err(CliError::Usage(format!(
            "--distributed: none of {} is set; start it by a launcher, or give --shard-index and --num-shards",
            names.join(", ")
        )))
    }

    pub fn is_all(self) -> bool {
        self.of == 1
    }

    /// Whether the `n`-th thing, from 0, is of this part.
    pub fn has(self, n: u64) -> bool {
        n % self.of == self.index
    }

    /// How many of `total` things are of this part.
    pub fn part_of(self, total: u64) -> u64 {
        total.saturating_sub(self.index).div_ceil(self.of)
    }

    /// `rows.csv` as `rows-00002-of-00008.csv`, where there are several parts.
    pub fn name(self, path: &Path) -> PathBuf {
        if self.is_all() {
            return path.to_owned();
        }
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{:05}-of-{:05}", self.index, self.of));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(variables: &[(&str, &str)]) -> Result<Share, String> {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        Share::from_launcher(variable)
            .map(|(share, _)| share)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn launchers_tell_the_part() {
        assert_eq!(
            launched(&[("RANK", "2"), ("WORLD_SIZE", "4")]),
            Ok(Share { index: 2, of: 4 })
        );
        let both = [
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "3"),
            ("OMPI_COMM_WORLD_RANK", "2"),
            ("OMPI_COMM_WORLD_SIZE", "3"),
        ];
        assert_eq!(launched(&both), Ok(Share { index: 2, of: 3 }));
        assert_eq!(launched(&both[..2]), Ok(Share { index: 0, of: 3 }));
        for (wrong, word) in [
            (&[][..], "none of"),
            (&[("RANK", "0")][..], "WORLD_SIZE is not"),
            (&[("WORLD_SIZE", "4")][..], "RANK is not"),
            (&[("RANK", "4"), ("WORLD_SIZE", "4")][..], "not below"),
            (&[("RANK", "x"), ("WORLD_SIZE", "4")][..], "no whole number"),
            (&[("RANK", "0"), ("WORLD_SIZE", "0")][..], "not below"),
        ] {
            let error = launched(wrong).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn parts_are_complete_and_disjoint() {
        for of in 1..7 {
            for total in 0..20 {
                let shares = (0..of).map(|index| Share { index, of });
                let owners = |n| shares.clone().filter(|share| share.has(n)).count();
                assert!((0..total).all(|n| owners(n) == 1));
                for share in shares.clone() {
                    assert_eq!(
                        share.part_of(total),
                        (0..total).filter(|&n| share.has(n)).count() as u64
                    );
                }
            }
        }
    }

    #[test]
    fn the_part_goes_into_the_name() {
        let share = Share { index: 2, of: 8 };
        assert_eq!(
            share.name(Path::new("a/rows.csv")),
            Path::new("a/rows-00002-of-00008.csv")
        );
        assert_eq!(
            share.name(Path::new("rows")),
            Path::new("rows-00002-of-00008")
        );
        assert_eq!(
            Share::ALL.name(Path::new("rows.csv")),
            Path::new("rows.csv")
        );
    }
}
