//! `clipn results`: merges and shows saved results of evaluations.

mod args;

pub(crate) use args::ResultsCommand;

use std::path::{Path, PathBuf};

use clipn::evaluation::{EvaluationRecord, EvaluationRun, merge};

use crate::commands::eval::{
    NewResults, lock_directory, print, refuse_existing, with_runs, write_merged,
};
use crate::common::error::CliError;
use crate::common::messages::{note, warning};
use args::{MergeArgs, ShowArgs};

/// `clipn results`.
pub(crate) fn run(command: &ResultsCommand) -> Result<(), CliError> {
    match command {
        ResultsCommand::Merge(args) => merge_runs(args),
        ResultsCommand::Show(args) => show(args),
    }
}

fn show(args: &ShowArgs) -> Result<(), CliError> {
    print(&EvaluationRecord::read(&args.path)?, args.format)
}

fn merge_runs(args: &MergeArgs) -> Result<(), CliError> {
    let files: Vec<PathBuf> = args
        .paths
        .iter()
        .map(|path| canonical(&results_file(path)))
        .collect();
    if let Some((index, _)) = files
        .iter()
        .enumerate()
        .find(|(i, file)| files[..*i].contains(file))
    {
        return Err(CliError::usage(format!(
            "duplicate results: {}",
            args.paths[index].display()
        )));
    }
    let runs = args.paths.iter().map(|path| {
        let record = EvaluationRecord::read(path)?;
        Ok(EvaluationRun {
            path: path.display().to_string(),
            record,
        })
    });
    let runs = runs.collect::<Result<Vec<_>, CliError>>()?;
    if let Some(directory) = &args.output {
        if !args.force {
            refuse_existing(directory)?;
        }
        // The runs of an earlier evaluation in the directory are replaced too.
        let replaced = |results: PathBuf| canonical(&results.join(EvaluationRecord::FILE_NAME));
        if with_runs(directory)
            .map(replaced)
            .any(|file| files.contains(&file))
        {
            return Err(CliError::usage_with_hint(
                format!(
                    "--output {} would overwrite one of the runs",
                    directory.display()
                ),
                "give another directory",
            ));
        }
    }
    let merged = merge(&runs)?;
    warn_of_equal_runs(&runs);
    note_dropped(&runs);
    if let Some(directory) = &args.output {
        let benchmark = merged.settings["benchmark"].as_str().unwrap_or_default();
        let title = format!("{} runs of {}", runs.len(), title(benchmark, &merged));
        let _lock = lock_directory(directory, args.force)?;
        let written = NewResults::create(directory)?;
        write_merged(written.path(), &merged, &title)?;
        written.commit()?;
    }
    print(&merged, args.format)
}

/// Notes what runs have and their mean has not.
fn note_dropped(runs: &[EvaluationRun]) {
    let with = |is_there: fn(&EvaluationRecord) -> bool| {
        runs.iter().filter(|run| is_there(&run.record)).count()
    };
    for (count, what) in [
        (
            with(|record| record.spread.is_some()),
            "the spread within a run is left out, in favor of that over runs",
        ),
        (
            with(|record| record.streams.is_some()),
            "results of streams are left out",
        ),
    ] {
        if count > 0 {
            note(format_args!("{what}: {count} of {} runs", runs.len()));
        }
    }
}

/// Warns of runs with the same figures, which are likely one evaluation: the spread is then too small.
fn warn_of_equal_runs(runs: &[EvaluationRun]) {
    for (index, run) in runs.iter().enumerate() {
        let same = |other: &&EvaluationRun| other.record.results == run.record.results;
        if let Some(other) = runs[..index].iter().find(same) {
            warning(format_args!(
                "{} and {} have the same figures, as of one evaluation: their spread says nothing",
                other.path, run.path
            ));
        }
    }
}

/// The name of the benchmark, or of its in-distribution set if flags defined the benchmark.
fn title<'a>(benchmark: &'a str, merged: &'a EvaluationRecord) -> &'a str {
    if matches!(benchmark, "" | "command line") {
        &merged.results.id.name
    } else {
        benchmark
    }
}

/// The results file in a directory, or the path of a file unchanged.
fn results_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(EvaluationRecord::FILE_NAME)
    } else {
        path.to_owned()
    }
}

/// The canonical path, or the path unchanged if there is none.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
