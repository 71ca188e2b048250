//! Result files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clipn::evaluation::{
    Evaluation, EvaluationError, EvaluationRecord, write_openood_csv, write_record_csv,
    write_results_json, write_scores_csv,
};
use clipn::files::{self, StateLock};
use clipn::report::{ReportOptions, write_histograms, write_html, write_record_html};

use super::streams;
use crate::common::error::CliError;
use crate::common::locks::reported;
use crate::common::messages::status;

/// Creates a directory and its parents.
pub(crate) fn create_directory(directory: &Path) -> Result<(), CliError> {
    files::create_directories(directory).map_err(|source| CliError::OutputDirectory {
        path: directory.to_owned(),
        source,
    })
}

/// Creates and locks the directory of results, which no other process may write meanwhile, and refuses
/// results in it unless they are `replaced`.
pub(crate) fn lock_directory(directory: &Path, replaced: bool) -> Result<StateLock, CliError> {
    create_directory(directory)?;
    let lock = reported(StateLock::of_directory(directory)?);
    if !replaced {
        refuse_existing(directory)?;
    }
    Ok(lock)
}

/// Everything that an evaluation writes to its directory.
const FILES: [&str; 8] = [
    EvaluationRecord::FILE_NAME,
    "results.csv",
    "openood.csv",
    "scores.csv",
    "scores.parquet",
    streams::FILE,
    "histograms.svg",
    "report.html",
];

/// Refuses a directory that has results already, or files that would be replaced by results.
pub(crate) fn refuse_existing(directory: &Path) -> Result<(), CliError> {
    for results in with_runs(directory) {
        let Some(found) = FILES.iter().find(|name| results.join(name).exists()) else {
            continue;
        };
        let problem = match *found {
            EvaluationRecord::FILE_NAME => format!("{} has results already", results.display()),
            name => format!("{} has a file {name} already", results.display()),
        };
        return Err(CliError::usage_with_hint(
            problem,
            "give another --output, or --force to replace them",
        ));
    }
    Ok(())
}

/// A directory of results, and those of its runs.
pub(crate) fn with_runs(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let runs = (0..).map({
        let directory = directory.to_owned();
        move |index| run_directory(&directory, index)
    });
    std::iter::once(directory.to_owned()).chain(runs.take_while(|run| run.is_dir()))
}

/// Removes the files of an earlier evaluation, also those of its runs, so that none is left beside the
/// new ones. Other files stay.
pub(crate) fn remove_results(directory: &Path) -> Result<(), CliError> {
    let remove = |path: PathBuf| match files::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(CliError::WriteFile { path, source })
        }
        _ => Ok(()),
    };
    let all: Vec<PathBuf> = with_runs(directory).collect();
    for results in &all {
        for name in FILES {
            remove(results.join(name))?;
        }
    }
    for run in &all[1..] {
        // Fails, as it should, for a directory with other files.
        let _ = std::fs::remove_dir(run);
    }
    Ok(())
}

/// The directory of one of several runs; `index` counts from 0, the name from 1.
pub(crate) fn run_directory(output: &Path, index: usize) -> PathBuf {
    output.join(format!("run-{}", index + 1))
}

/// Writes the files of one evaluation.
pub(crate) fn write_evaluation(
    directory: &Path,
    record: &EvaluationRecord,
    evaluation: &Evaluation,
    epoch: Option<&str>,
    page: &ReportOptions,
) -> Result<(), CliError> {
    create_directory(directory)?;
    write_record_csv(directory.join("results.csv"), record, epoch)?;
    write_openood_csv(directory.join("openood.csv"), &record.results)?;
    write_scores_csv(directory.join("scores.csv"), evaluation)?;
    #[cfg(feature = "parquet")]
    clipn::evaluation::write_scores_parquet(directory.join("scores.parquet"), evaluation)?;
    write_html(
        directory.join("report.html"),
        evaluation,
        &record.results,
        page,
    )?;
    write_histograms(directory.join("histograms.svg"), evaluation, page.precision)?;
    // Last, since a directory that has it is refused: what was interrupted can be started again.
    write_results_json(directory.join(EvaluationRecord::FILE_NAME), record)?;
    let parquet = if cfg!(feature = "parquet") {
        ", scores.parquet"
    } else {
        ""
    };
    let streams = match &record.streams {
        Some(_) => format!(", {}", streams::FILE),
        None => String::new(),
    };
    status(format_args!(
        "wrote results.json, results.csv, openood.csv, scores.csv{parquet}{streams}, histograms.svg and report.html to {}",
        directory.display()
    ));
    Ok(())
}

/// Writes the files of merged runs.
pub(crate) fn write_merged(
    directory: &Path,
    record: &EvaluationRecord,
    title: &str,
) -> Result<(), CliError> {
    create_directory(directory)?;
    write_record_csv(
        directory.join("results.csv"),
        record,
        record.settings["epoch"].as_str(),
    )?;
    // Runs of an earlier version lack its metrics.
    let openood = match write_openood_csv(directory.join("openood.csv"), &record.results) {
        Ok(()) => ", openood.csv",
        Err(EvaluationError::WithoutOpenoodMetrics) => "",
        Err(error) => return Err(error.into()),
    };
    write_record_html(directory.join("report.html"), record, title)?;
    write_results_json(directory.join(EvaluationRecord::FILE_NAME), record)?;
    status(format_args!(
        "wrote results.json, results.csv{openood} and report.html to {}",
        directory.display()
    ));
    Ok(())
}
