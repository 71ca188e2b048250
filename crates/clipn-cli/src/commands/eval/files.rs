//! Result files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clipn::evaluation::{
    Evaluation, EvaluationError, EvaluationRecord, write_openood_csv, write_record_csv,
    write_results_json, write_scores_csv,
};
use clipn::files::{self, NewDirectory, StateLock};
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

/// Results that are written beside those of an earlier evaluation, and take their names when complete.
pub(crate) struct NewResults {
    directory: PathBuf,
    /// Its files are moved one by one, since the directory may have other files too.
    written: NewDirectory,
}

impl NewResults {
    /// Creates a hidden directory for the results of `directory`, which must be locked.
    pub(crate) fn create(directory: &Path) -> Result<Self, CliError> {
        let written = NewDirectory::create(directory.join("results")).map_err(|source| {
            CliError::OutputDirectory {
                path: directory.to_owned(),
                source,
            }
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            written,
        })
    }

    /// The directory to write files to.
    pub(crate) fn path(&self) -> &Path {
        self.written.path()
    }

    /// The directory to write the files of one of several runs to; `index` counts from 0.
    pub(crate) fn run_path(&self, index: usize) -> PathBuf {
        run_directory(self.path(), index)
    }

    /// Replaces the earlier results, and reports the files.
    pub(crate) fn commit(self) -> Result<(), CliError> {
        remove_results(&self.directory)?;
        let runs = with_runs(self.path()).skip(1).enumerate();
        let runs = runs.map(|(index, run)| (run, run_directory(&self.directory, index)));
        // What is over all runs comes last.
        let whole = (self.path().to_owned(), self.directory.clone());
        for (written, directory) in runs.chain([whole]) {
            create_directory(&directory)?;
            let names: Vec<&str> = FILES
                .into_iter()
                .filter(|name| written.join(name).exists())
                .collect();
            // `results.json` is the first of `FILES`, and comes last: a directory that has it is complete.
            for name in names.iter().rev() {
                let path = directory.join(name);
                files::rename(written.join(name), &path)
                    .map_err(|source| CliError::WriteFile { path, source })?;
            }
            files::sync_directory(&directory).map_err(|source| CliError::OutputDirectory {
                path: directory.clone(),
                source,
            })?;
            if let Some((last, others)) = names.split_last() {
                let others = others.join(", ");
                status(format_args!(
                    "wrote {others} and {last} to {}",
                    directory.display()
                ));
            }
        }
        Ok(())
    }
}

/// Removes the files of an earlier evaluation, also those of its runs, so that none is left beside the
/// new ones. Other files stay.
fn remove_results(directory: &Path) -> Result<(), CliError> {
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
fn run_directory(output: &Path, index: usize) -> PathBuf {
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
    write_results_json(directory.join(EvaluationRecord::FILE_NAME), record)?;
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
    match write_openood_csv(directory.join("openood.csv"), &record.results) {
        Ok(()) | Err(EvaluationError::WithoutOpenoodMetrics) => {}
        Err(error) => return Err(error.into()),
    }
    write_record_html(directory.join("report.html"), record, title)?;
    write_results_json(directory.join(EvaluationRecord::FILE_NAME), record)?;
    Ok(())
}
