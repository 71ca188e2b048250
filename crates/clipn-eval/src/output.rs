//! Result files of an evaluation: JSON, CSV and Parquet.

use std::io::{BufWriter, Write};
use std::path::Path;

use clipn_base::files::NewFile;
use serde::Serialize;

use clipn_ood::scores::by_name;

use crate::error::EvaluationError;
use crate::evaluation::Evaluation;
#[cfg(feature = "parquet")]
use crate::parquet::{Cell, ColumnKind, ParquetWriter};
use crate::results::{OodResult, Results};

/// Writes the results as one JSON object, with the run's description under `settings`.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
pub fn write_results_json(
    path: impl AsRef<Path>,
    results: &impl Serialize,
) -> Result<(), EvaluationError> {
    write(path.as_ref(), |out| {
        serde_json::to_writer_pretty(&mut *out, results)?;
        out.write_all(b"\n")
    })
}

/// Writes one row per score and set: the published table's columns (epoch, method, oodset, AUROC,
/// FPR@95) and further ones. `FPR@95-low` and `FPR@95-high` are the range of FPR95 over ties. `epoch` is
/// the checkpoint's, if known. Metrics are fractions.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
pub fn write_results_csv(
    path: impl AsRef<Path>,
    results: &Results,
    epoch: Option<&str>,
) -> Result<(), EvaluationError> {
    write(path.as_ref(), |out| {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record([
            "epoch",
            "method",
            "oodset",
            "AUROC",
            "FPR@95",
            "AUPR-in",
            "AUPR-out",
            "kind",
            "n_id",
            "n_ood",
            "FPR@95-low",
            "FPR@95-high",
        ])?;
        for r in &results.results {
            let method = by_name(r.score).map_or(r.score, |score| score.display_name());
            let [low, high] = ties_cells(r);
            csv.write_record([
                epoch.unwrap_or_default(),
                method,
                &r.ood,
                &r.auroc.to_string(),
                &r.fpr95.to_string(),
                &r.aupr_in.to_string(),
                &r.aupr_out.to_string(),
                &r.kind.map(|kind| kind.to_string()).unwrap_or_default(),
                &r.n_id.to_string(),
                &r.n_ood.to_string(),
                &low,
                &high,
            ])?;
        }
        csv.flush()
    })
}

/// The ends of the range of FPR95 over ties, empty if unknown.
pub(crate) fn ties_cells(r: &OodResult) -> [String; 2] {
    r.fpr95_ties
        .map_or_else(Default::default, |ends| ends.map(|end| end.to_string()))
}

/// Writes one row per image: set, path, label, prediction, every score, and the error if the image
/// could not be read.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
pub fn write_scores_csv(
    path: impl AsRef<Path>,
    evaluation: &Evaluation,
) -> Result<(), EvaluationError> {
    let name = |class: usize| evaluation.class_names.get(class).map_or("", String::as_str);
    write(path.as_ref(), |out| {
        let mut csv = csv::Writer::from_writer(out);
        let heading = ["set", "path", "label", "prediction"].into_iter();
        csv.write_record(
            heading
                .chain(evaluation.scores.iter().map(|s| s.name()))
                .chain(["error"]),
        )?;
        for set in std::iter::once(&evaluation.id).chain(&evaluation.ood) {
            for row in &set.rows {
                let mut record = vec![
                    set.name.clone(),
                    row.path.display().to_string(),
                    row.label.map(name).unwrap_or_default().to_owned(),
                ];
                match &row.outcome {
                    Ok(scored) => {
                        record.push(name(scored.prediction).to_owned());
                        record.extend(scored.scores.iter().map(f64::to_string));
                        record.push(String::new());
                    }
                    Err(error) => {
                        record.extend(std::iter::repeat_n(
                            String::new(),
                            1 + evaluation.scores.len(),
                        ));
                        record.push(error.clone());
                    }
                }
                csv.write_record(&record)?;
            }
        }
        csv.flush()
    })
}

/// Writes the table of [`write_scores_csv`] as a Parquet file.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
#[cfg(feature = "parquet")]
pub fn write_scores_parquet(
    path: impl AsRef<Path>,
    evaluation: &Evaluation,
) -> Result<(), EvaluationError> {
    let name = |class: usize| evaluation.class_names.get(class).map(String::as_str);
    let text = |name: &str| (name.to_owned(), ColumnKind::Text);
    let mut columns: Vec<_> = ["set", "path", "label", "prediction"].map(text).into();
    columns.extend(
        evaluation
            .scores
            .iter()
            .map(|score| (score.name().to_owned(), ColumnKind::Double)),
    );
    columns.push(text("error"));
    let mut table = ParquetWriter::create(path, &columns)?;
    for set in std::iter::once(&evaluation.id).chain(&evaluation.ood) {
        for row in &set.rows {
            let file = row.path.display().to_string();
            let mut cells = vec![
                Cell::Text(Some(&set.name)),
                Cell::Text(Some(&file)),
                Cell::Text(row.label.and_then(name)),
            ];
            match &row.outcome {
                Ok(scored) => {
                    cells.push(Cell::Text(name(scored.prediction)));
                    cells.extend(scored.scores.iter().map(|&score| Cell::Double(Some(score))));
                    cells.push(Cell::Text(None));
                }
                Err(error) => {
                    cells.push(Cell::Text(None));
                    cells.extend(std::iter::repeat_n(
                        Cell::Double(None),
                        evaluation.scores.len(),
                    ));
                    cells.push(Cell::Text(Some(error)));
                }
            }
            table.push(&cells)?;
        }
    }
    table.finish()
}

/// Replaces a file by what `fill` writes.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<NewFile>) -> std::io::Result<()>,
) -> Result<(), EvaluationError> {
    let written = NewFile::create(path)
        .map(BufWriter::new)
        .and_then(|mut out| {
            fill(&mut out)?;
            out.into_inner()
                .map_err(std::io::IntoInnerError::into_error)?
                .commit()
        });
    written.map_err(|source| EvaluationError::Write {
        path: path.to_owned(),
        source,
    })
}
