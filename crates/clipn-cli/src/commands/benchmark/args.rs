use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::common::args::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchmarkCommand {
    /// List the built-in benchmarks with their sets and numbers of images
    List(ListArgs),
    /// Count the images of a benchmark, and name missing sets, classes and files
    ///
    /// Images are not decoded. The exit code is not 0 if something is missing.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Format of the list on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Name of `clipn benchmark list`, or a TOML file
    #[arg(value_name = "NAME|FILE")]
    pub benchmark: String,
    /// Directory of the benchmark's data
    #[arg(long, value_name = "DIR")]
    pub data_root: PathBuf,
    /// Directory of the benchmark's image lists, such as OpenOOD's benchmark_imglist [default: from the
    /// benchmark, in --data-root]
    #[arg(long, value_name = "DIR")]
    pub list_root: Option<PathBuf>,
    /// Format of the counts on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}
