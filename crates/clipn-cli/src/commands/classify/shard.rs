//! The shard of the work that this process takes.

use std::path::{Path, PathBuf};

use clipn::launcher::{Launched, Launcher, LauncherError};

use super::args::ShardArgs;
use crate::common::distributed::job_script_problem;
use crate::common::error::CliError;
use crate::common::messages::note;

/// Shard `index` of `count` shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardSpec {
    pub index: u64,
    pub count: u64,
}

impl ShardSpec {
    pub(crate) const ALL: Self = Self { index: 0, count: 1 };

    /// Takes the shard from the flags, or with `--distributed` from the launcher. Notes the shard
    /// of a launcher, and a launcher that is ignored.
    pub(crate) fn from_args(args: &ShardArgs) -> Result<Self, CliError> {
        let variable = |name: &str| std::env::var(name).ok();
        if let (Some(index), Some(count)) = (args.shard_index, args.num_shards) {
            return Self::new(index, count, "--shard-index", "--num-shards");
        }
        if !args.distributed {
            let announced = Launcher::announced(&Launcher::ALL, variable);
            if let Some((launcher, count)) = announced.filter(|(_, count)| *count > 1) {
                note(format_args!(
                    "{} is {count}, but this process takes all images; --distributed splits them",
                    launcher.size_variable()
                ));
            }
            return Ok(Self::ALL);
        }
        let (shard, origin) = Self::from_launcher(variable)?;
        note(format_args!(
            "this process takes shard {} of {}, counted from 0 ({origin})",
            shard.index, shard.count
        ));
        Ok(shard)
    }

    fn new(index: u64, count: u64, index_name: &str, count_name: &str) -> Result<Self, CliError> {
        if index >= count {
            return Err(CliError::usage_with_hint(
                format!("{index_name} {index} is not below {count_name} {count}"),
                "shards are counted from 0",
            ));
        }
        Ok(Self { index, count })
    }

    /// The shard, and the variables that it was read from.
    fn from_launcher(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, String), CliError> {
        let invalid = |error: LauncherError| CliError::Usage {
            hint: matches!(error, LauncherError::RankOutOfRange { .. })
                .then(|| "shards are counted from 0".to_owned()),
            message: format!("--distributed: {error}"),
        };
        let launched = Launched::from_variables(&Launcher::ALL, &variable).map_err(invalid)?;
        let Some(launched) = launched else {
            let names = Launcher::ALL.map(Launcher::rank_variable);
            return Err(CliError::usage_with_hint(
                format!("--distributed: none of {} is set", names.join(", ")),
                "start the program by a launcher, or give --shard-index and --num-shards",
            ));
        };
        let Launched {
            launcher,
            rank,
            world_size,
        } = launched;
        if world_size > 1 && launcher.is_job_script(&variable) {
            return Err(CliError::usage_with_hint(
                format!(
                    "--distributed: {}",
                    job_script_problem(launcher, world_size)
                ),
                "start with srun, or leave out --distributed",
            ));
        }
        let shard = Self {
            index: rank as u64,
            count: world_size as u64,
        };
        let (rank_name, size_name) = (launcher.rank_variable(), launcher.size_variable());
        Ok((
            shard,
            format!("{rank_name}={rank}, {size_name}={world_size}"),
        ))
    }

    pub(crate) fn is_all(self) -> bool {
        self.count == 1
    }

    /// Whether the `n`-th item, counted from 0, belongs to this shard.
    pub(crate) fn contains(self, n: u64) -> bool {
        n % self.count == self.index
    }

    /// Number of items of this shard out of `total`.
    pub(crate) fn len_of(self, total: u64) -> u64 {
        total.saturating_sub(self.index).div_ceil(self.count)
    }

    /// Adds the shard to a file name, as in `rows-00002-of-00008.csv`, if there are several shards.
    pub(crate) fn file_name(self, path: &Path) -> PathBuf {
        if self.is_all() {
            return path.to_owned();
        }
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{:05}-of-{:05}", self.index, self.count));
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

    fn from_variables(variables: &[(&str, &str)]) -> Result<ShardSpec, String> {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        ShardSpec::from_launcher(variable)
            .map(|(shard, _)| shard)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn reads_the_shard_from_launcher_variables() {
        assert_eq!(
            from_variables(&[("RANK", "2"), ("WORLD_SIZE", "4")]),
            Ok(ShardSpec { index: 2, count: 4 })
        );
        let both = [
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "3"),
            ("OMPI_COMM_WORLD_RANK", "2"),
            ("OMPI_COMM_WORLD_SIZE", "3"),
        ];
        assert_eq!(from_variables(&both), Ok(ShardSpec { index: 2, count: 3 }));
        let error = from_variables(&both[..2]).unwrap_err();
        assert!(error.contains("is the job script"), "{error}");
        let step = [both[0], both[1], ("SLURM_STEP_ID", "0")];
        assert_eq!(from_variables(&step), Ok(ShardSpec { index: 0, count: 3 }));
        for (wrong, word) in [
            (&[][..], "none of"),
            (&[("RANK", "0")][..], "WORLD_SIZE is not"),
            (&[("WORLD_SIZE", "4")][..], "RANK is not"),
            (&[("RANK", "4"), ("WORLD_SIZE", "4")][..], "not below"),
            (
                &[("RANK", "x"), ("WORLD_SIZE", "4")][..],
                "expected a whole number",
            ),
            (&[("RANK", "0"), ("WORLD_SIZE", "0")][..], "not below"),
        ] {
            let error = from_variables(wrong).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn shards_are_complete_and_disjoint() {
        for count in 1..7 {
            for total in 0..20 {
                let shards = (0..count).map(|index| ShardSpec { index, count });
                let owners = |n| shards.clone().filter(|shard| shard.contains(n)).count();
                assert!((0..total).all(|n| owners(n) == 1));
                for shard in shards.clone() {
                    assert_eq!(
                        shard.len_of(total),
                        (0..total).filter(|&n| shard.contains(n)).count() as u64
                    );
                }
            }
        }
    }

    #[test]
    fn adds_the_shard_to_the_file_name() {
        let shard = ShardSpec { index: 2, count: 8 };
        assert_eq!(
            shard.file_name(Path::new("a/rows.csv")),
            Path::new("a/rows-00002-of-00008.csv")
        );
        assert_eq!(
            shard.file_name(Path::new("rows")),
            Path::new("rows-00002-of-00008")
        );
        assert_eq!(
            ShardSpec::ALL.file_name(Path::new("rows.csv")),
            Path::new("rows.csv")
        );
    }
}
