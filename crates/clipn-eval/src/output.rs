//! Result files of an evaluation: JSON, CSV and Parquet.

use std::io::{BufWriter, Write};
use std::path::Path;

use clipn_base::files::NewFile;
use serde::Serialize;

use clipn_ood::scores::by_name;

use crate::error::EvaluationError;
use crate::evaluation::Evaluation;
use crate::fpr_figure::{FprFigure, find};
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
/// FPR@95) and further ones. `AUPR-in` and `AUPR-out` are average precision; those by the trapezoidal rule
/// have names of their own. `FPR@95-low` and `FPR@95-high` are the range of FPR95 over ties, and columns such
/// as `FPR@95-openood` the FPR in each convention. `epoch` is the checkpoint's, if known. Metrics are
/// fractions.
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
        let heading = [
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
        ];
        csv.write_record(
            heading
                .into_iter()
                .map(str::to_owned)
                .chain(further_heading(results, '-')),
        )?;
        for r in &results.results {
            let method = by_name(r.score).map_or(r.score, |score| score.display_name());
            let [low, high] = ties_cells(r);
            let cells = [
                epoch.unwrap_or_default().to_owned(),
                method.to_owned(),
                r.ood.clone(),
                r.auroc.to_string(),
                r.fpr95.to_string(),
                r.aupr_in.to_string(),
                r.aupr_out.to_string(),
                r.kind.map(|kind| kind.to_string()).unwrap_or_default(),
                r.n_id.to_string(),
                r.n_ood.to_string(),
                low,
                high,
            ];
            csv.write_record(cells.into_iter().chain(further_cells(r, results)))?;
        }
        csv.flush()
    })
}

/// The ends of the range of FPR95 over ties, empty if unknown.
pub(crate) fn ties_cells(r: &OodResult) -> [String; 2] {
    r.fpr95_ties
        .map_or_else(Default::default, |ends| ends.map(|end| end.to_string()))
}

/// Headings of the metrics that came after the published ones: AUPR by the trapezoidal rule, AURC, and FPR in
/// every convention. With `-` they are written like the published headings, else like the fields of
/// [`OodResult`].
pub(crate) fn further_heading(results: &Results, separator: char) -> Vec<String> {
    let names: [&str; 3] = match separator {
        '-' => ["AUPR-in-trapezoid", "AUPR-out-trapezoid", "AURC"],
        _ => ["aupr_in_trapezoid", "aupr_out_trapezoid", "aurc"],
    };
    let fpr = match separator {
        '-' => "FPR@",
        _ => "fpr",
    };
    let figures = results.results.first().map_or(&[][..], |r| &r.fpr);
    let figure =
        |figure: &FprFigure| format!("{fpr}{}{separator}{}", figure.percent(), figure.convention);
    names
        .map(str::to_owned)
        .into_iter()
        .chain(figures.iter().map(figure))
        .collect()
}

/// Cells under [`further_heading`], empty if unknown.
pub(crate) fn further_cells(r: &OodResult, results: &Results) -> Vec<String> {
    let figures = results.results.first().map_or(&[][..], |first| &first.fpr);
    let fpr =
        |figure: &FprFigure| find(&r.fpr, figure.tpr, figure.convention).map(|figure| figure.fpr);
    [r.aupr_in_trapezoid, r.aupr_out_trapezoid, r.aurc]
        .into_iter()
        .chain(figures.iter().map(fpr))
        .map(|value| value.map(|value| value.to_string()).unwrap_or_default())
        .collect()
}

/// Writes one row per image: set, path, label, prediction, every score, the error if the image
/// could not be read, and whether the image is in-distribution.
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
                .chain(["error", "is_id"]),
        )?;
        for set in std::iter::once(&evaluation.id).chain(&evaluation.ood) {
            let is_id = std::ptr::eq(set, &evaluation.id);
            // Sets with a covariate shift are parts of the in-distribution set.
            let parts = set.parts().into_iter();
            for (name_of_set, row) in
                parts.flat_map(|(name, rows)| rows.iter().map(move |row| (name, row)))
            {
                let mut record = vec![
                    name_of_set.to_owned(),
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
                record.push(is_id.to_string());
                csv.write_record(&record)?;
            }
        }
        csv.flush()
    })
}

/// Writes the table of [`write_scores_csv`] as a Parquet file, with further columns: `kind` (`id`, `shifted`, `near`
/// or `far`; empty for an out-of-distribution set of unknown distance), and the indices of label and
/// prediction among the classes.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
#[cfg(feature = "parquet")]
pub fn write_scores_parquet(
    path: impl AsRef<Path>,
    evaluation: &Evaluation,
) -> Result<(), EvaluationError> {
    let name = |class: usize| evaluation.class_names.get(class).map(String::as_str);
    let column = |kind: ColumnKind| move |name: &str| (name.to_owned(), kind);
    let mut columns: Vec<_> = ["set", "path", "label", "prediction"]
        .map(column(ColumnKind::Text))
        .into();
    columns.extend(
        evaluation
            .scores
            .iter()
            .map(|score| column(ColumnKind::Double)(score.name())),
    );
    columns.push(column(ColumnKind::Text)("error"));
    columns.push(column(ColumnKind::Boolean)("is_id"));
    columns.push(column(ColumnKind::Text)("kind"));
    columns.extend(["label_index", "prediction_index"].map(column(ColumnKind::Integer)));
    let index =
        |class: Option<usize>| Cell::Integer(class.and_then(|class| i64::try_from(class).ok()));
    let mut table = ParquetWriter::create(path, &columns)?;
    for set in std::iter::once(&evaluation.id).chain(&evaluation.ood) {
        let is_id = std::ptr::eq(set, &evaluation.id);
        for (part, (set_name, rows)) in set.parts().into_iter().enumerate() {
            let kind = match set.kind {
                _ if is_id && part > 0 => Some("shifted".to_owned()),
                _ if is_id => Some("id".to_owned()),
                kind => kind.map(|kind| kind.to_string()),
            };
            for row in rows {
                let file = row.path.display().to_string();
                let scored = row.outcome.as_ref().ok();
                let score =
                    |index: usize| Cell::Double(scored.and_then(|s| s.scores.get(index).copied()));
                let mut cells = vec![
                    Cell::Text(Some(set_name)),
                    Cell::Text(Some(&file)),
                    Cell::Text(row.label.and_then(name)),
                    Cell::Text(scored.and_then(|scored| name(scored.prediction))),
                ];
                cells.extend((0..evaluation.scores.len()).map(score));
                cells.extend([
                    Cell::Text(row.outcome.as_ref().err().map(String::as_str)),
                    Cell::Boolean(Some(is_id)),
                    Cell::Text(kind.as_deref()),
                    index(row.label),
                    index(scored.map(|scored| scored.prediction)),
                ]);
                table.push(&cells)?;
            }
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
