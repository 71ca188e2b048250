//! `clipn results`: what evaluations have written, read again.

mod args;

pub use args::ResultsCommand;

use std::path::{Path, PathBuf};

use clipn::evaluation::{Record, Run, merge};

use crate::common::error::CliError;
use crate::commands::eval::{print, write_merged};
use args::{MergeArgs, ShowArgs};

/// `clipn results`.
pub fn run(command: &ResultsCommand) -> Result<(), CliError> {
    match command {
        ResultsCommand::Merge(args) => merge_runs(args),
        ResultsCommand::Show(args) => show(args),
    }
}

fn show(args: &ShowArgs) -> Result<(), CliError> {
    print(&Record::read(&args.path)?, args.format)
}

fn merge_runs(args: &MergeArgs) -> Result<(), CliError> {
    let files: Vec<PathBuf> = args.paths.iter().map(|path| real(&file_of(path))).collect();
    if let Some((index, _)) = files
        .iter()
        .enumerate()
        .find(|(i, file)| files[..*i].contains(file))
    {
        return Err(CliError::Usage(format!(
            "{} is given twice",
            args.paths[index].display()
        )));
    }
    let runs = args.paths.iter().map(|path| {
        let record = Record::read(path)?;
        Ok(Run {
            path: path.display().to_string(),
            record,
        })
    });
    let runs = runs.collect::<Result<Vec<_>, CliError>>()?;
    if let Some(folder) = &args.output {
        let target = real(&folder.join(Record::FILE));
        if files.contains(&target) {
            return Err(CliError::Usage(format!(
                "--output {} is one of the runs, which would be written over; name another folder",
                folder.display()
            )));
        }
    }
    let merged = merge(&runs)?;
    if let Some(folder) = &args.output {
        let benchmark = merged.settings["benchmark"].as_str().unwrap_or_default();
        let title = format!("{} runs of {}", runs.len(), title(benchmark, &merged));
        write_merged(folder, &merged, &title)?;
    }
    print(&merged, args.format)
}

/// A benchmark's name, or its in-distribution set where the command line spelled it out.
fn title<'a>(benchmark: &'a str, merged: &'a Record) -> &'a str {
    if matches!(benchmark, "" | "command line") {
        &merged.results.id.name
    } else {
        benchmark
    }
}

fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(Record::FILE)
    } else {
        path.to_owned()
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
