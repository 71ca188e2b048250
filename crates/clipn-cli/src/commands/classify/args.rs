use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::common::args::{Format, RunArgs};
use crate::common::detector::DetectorArgs;
use crate::common::error::CliError;

/// The form of the file that `--output` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One JSON object a line
    Jsonl,
    Csv,
    Parquet,
}

#[derive(Debug, Args)]
pub struct ClassifyArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// Classes that are told of each picture, the best first
    #[arg(long, value_name = "K", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top: u16,
    /// Tell under each line of the table why
    #[arg(long)]
    pub explain: bool,
    /// Call pictures unknown so that the expected share of pictures of the classes among those called so is at most Q, 0
    /// to 1: Benjamini and Hochberg's procedure over the p-values of all pictures, which a calibrated bundle gives. Rows
    /// come when the last picture is done
    #[arg(long, value_name = "Q", conflicts_with_all = ["resume", "num_shards", "distributed"], value_parser = parse_share)]
    pub fdr: Option<f64>,
    /// Form of the results on standard output; json is one object a line. With --output: of the counts
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Write the rows to this file: .jsonl, .csv or .parquet
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Form of that file [default: told by its ending]
    #[arg(long, value_enum, requires = "output")]
    pub output_format: Option<Form>,
    /// Go on where a run that was stopped, or killed, left the output; begin where there is none
    #[arg(long, requires = "output", conflicts_with = "force")]
    pub resume: bool,
    /// Replace an output that is there
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Do part I, from 0, of --num-shards parts of the work
    #[arg(
        long,
        value_name = "I",
        requires = "num_shards",
        conflicts_with = "distributed"
    )]
    pub shard_index: Option<u64>,
    /// Parts that the work is dealt into: pictures in turn, or whole archives where there are enough. The number of the
    /// part goes into the name of the output
    #[arg(long, value_name = "N", requires = "shard_index", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub num_shards: Option<u64>,
    /// Take the part from the launcher's variables: RANK and WORLD_SIZE, OMPI_COMM_WORLD_RANK and _SIZE, or SLURM_PROCID
    /// and SLURM_NTASKS
    #[arg(long)]
    pub distributed: bool,
    /// A list of pictures, archives or addresses, one a line; `-` is standard input. May be given again
    #[arg(long, value_name = "FILE")]
    pub list: Vec<PathBuf>,
    /// Zero bytes, not line ends, stand between the paths of --list, as after `find -print0`
    #[arg(short = '0', long, requires = "list")]
    pub null: bool,
    /// Pictures; folders; patterns (in quotes); archives (.tar, .tar.gz, .tar.zst, also `shard-{000..099}.tar`); s3://,
    /// gs:// or https:// addresses of those, or of a prefix ending in `/`; `-` for one picture on standard input
    #[arg(required_unless_present = "list", value_name = "PATHS")]
    pub paths: Vec<PathBuf>,
}

impl ClassifyArgs {
    /// Refuses what the flags cannot mean together.
    pub fn check(&self) -> Result<(), CliError> {
        let piped = self
            .paths
            .iter()
            .chain(&self.list)
            .filter(|path| path.as_os_str() == "-")
            .count();
        if piped > 1 {
            return Err(CliError::Usage(
                "standard input can be read once: give `-` once".to_owned(),
            ));
        }
        Ok(())
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("give a number between 0 and 1, as 0.1".to_owned()),
    }
}
