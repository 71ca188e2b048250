use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::common::args::Format;

#[derive(Debug, Subcommand)]
pub enum ResultsCommand {
    /// Merge runs of one evaluation, as with other seeds, into mean ± sample standard deviation
    Merge(MergeArgs),
    /// Show results that were written
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Folder for the merged results.json, results.csv and report.html
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Two or more files `results.json` of `clipn eval`, or the folders that they are in
    #[arg(required = true, num_args = 2.., value_name = "RESULTS")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// A file `results.json` of `clipn eval` or `clipn results merge`, or the folder that it is in
    #[arg(value_name = "RESULTS")]
    pub path: PathBuf,
}
