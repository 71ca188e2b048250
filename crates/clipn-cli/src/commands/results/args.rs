use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::common::args::ResultFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum ResultsCommand {
    /// Merge runs of one evaluation, such as other seeds, into mean ± sample standard deviation
    Merge(MergeArgs),
    /// Show saved results
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Directory for the merged results.json, results.csv and report.html
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Replace the results in --output
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: ResultFormat,
    /// Two or more results.json of `clipn eval`, or their directories
    #[arg(required = true, num_args = 2.., value_name = "RESULTS")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: ResultFormat,
    /// A results.json of `clipn eval` or `clipn results merge`, or its directory
    #[arg(value_name = "RESULTS")]
    pub path: PathBuf,
}
