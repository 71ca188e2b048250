//! The folders that results are written to.

use std::path::{Path, PathBuf};

use clipn::evaluation::{
    Evaluation, Record, write_record_csv, write_results_json, write_scores_csv,
};
use clipn::report::{ReportOptions, write_histograms, write_html, write_record_html};

use crate::common::error::CliError;

/// Makes a folder with those above it.
pub fn make_folder(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|source| CliError::OutputFolder {
        path: folder.to_owned(),
        source,
    })
}

/// The folder of the run of that number, counted from 0, beside others.
pub fn folder_of_run(output: &Path, number: usize) -> PathBuf {
    output.join(format!("run-{}", number + 1))
}

/// Writes all files of one evaluation.
pub fn write_evaluation(
    folder: &Path,
    record: &Record,
    evaluation: &Evaluation,
    epoch: Option<&str>,
    page: &ReportOptions,
) -> Result<(), CliError> {
    make_folder(folder)?;
    write_results_json(&folder.join(Record::FILE), record)?;
    write_record_csv(&folder.join("results.csv"), record, epoch)?;
    write_scores_csv(&folder.join("scores.csv"), evaluation)?;
    #[cfg(feature = "parquet")]
    clipn::evaluation::write_scores_parquet(&folder.join("scores.parquet"), evaluation)?;
    write_html(
        &folder.join("report.html"),
        evaluation,
        &record.results,
        page,
    )?;
    write_histograms(&folder.join("histograms.svg"), evaluation, page.precision)?;
    eprintln!(
        "wrote results.json, results.csv, scores.csv (and scores.parquet), histograms.svg and report.html to {}",
        folder.display()
    );
    Ok(())
}

/// Writes the files of merged runs.
pub fn write_merged(folder: &Path, record: &Record, title: &str) -> Result<(), CliError> {
    make_folder(folder)?;
    write_results_json(&folder.join(Record::FILE), record)?;
    write_record_csv(
        &folder.join("results.csv"),
        record,
        record.settings["epoch"].as_str(),
    )?;
    write_record_html(&folder.join("report.html"), record, title)?;
    eprintln!(
        "wrote results.json, results.csv and report.html to {}",
        folder.display()
    );
    Ok(())
}
