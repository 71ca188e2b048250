//! Results in the form of OpenOOD's table.

use std::io::Write;
use std::path::Path;

use clipn_data::OodKind;
use clipn_ood::metrics::FprConvention;

use crate::error::EvaluationError;
use crate::fpr_figure::{TPR_95, find};
use crate::output::write;
use crate::results::{OodResult, Results};

/// One row of OpenOOD's table: a set, or the mean over near or far sets. Metrics are fractions.
///
/// FPR95 is in OpenOOD's convention, and AUPR by the trapezoidal rule, whatever the settings of the
/// evaluation are.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OpenoodRow {
    /// Name of the set, or `nearood` or `farood` for a mean.
    pub dataset: String,
    /// FPR95 in the convention [`FprConvention::Openood`].
    pub fpr95: f64,
    /// Area under the ROC curve.
    pub auroc: f64,
    /// AUPR by the trapezoidal rule, in-distribution positive.
    pub aupr_in: f64,
    /// AUPR by the trapezoidal rule, out-of-distribution positive.
    pub aupr_out: f64,
    /// Accuracy on the in-distribution images, the same in every row; `None` without labels.
    pub accuracy: Option<f64>,
}

impl OpenoodRow {
    /// Headings of the table.
    pub const HEADING: [&str; 6] = ["dataset", "FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"];

    /// Returns the cells as OpenOOD prints them: per cent with two decimals. An unknown accuracy is empty.
    pub fn cells(&self) -> [String; 6] {
        let percent = |value: f64| format!("{:.2}", 100.0 * value);
        [
            self.dataset.clone(),
            percent(self.fpr95),
            percent(self.auroc),
            percent(self.aupr_in),
            percent(self.aupr_out),
            self.accuracy.map(percent).unwrap_or_default(),
        ]
    }

    fn of_set(r: &OodResult, accuracy: Option<f64>) -> Option<Self> {
        Some(Self {
            dataset: r.ood.clone(),
            fpr95: find(&r.fpr, TPR_95, FprConvention::Openood)?.fpr,
            auroc: r.auroc,
            aupr_in: r.aupr_in_trapezoid?,
            aupr_out: r.aupr_out_trapezoid?,
            accuracy,
        })
    }

    fn mean(dataset: &str, rows: &[Self]) -> Self {
        let mean =
            |value: fn(&Self) -> f64| rows.iter().map(value).sum::<f64>() / rows.len() as f64;
        Self {
            dataset: dataset.to_owned(),
            fpr95: mean(|r| r.fpr95),
            auroc: mean(|r| r.auroc),
            aupr_in: mean(|r| r.aupr_in),
            aupr_out: mean(|r| r.aupr_out),
            accuracy: rows.first().and_then(|r| r.accuracy),
        }
    }
}

impl Results {
    /// Returns OpenOOD's table of one score: the near sets and their mean `nearood`, then the far sets and
    /// their mean `farood`. Sets that are neither near nor far come last, without a mean.
    ///
    /// # Errors
    /// [`EvaluationError::WithoutOpenoodMetrics`] for results of an earlier version, which have neither AUPR by
    /// the trapezoidal rule nor FPR95 in every convention.
    pub fn openood_rows(&self, score: &str) -> Result<Vec<OpenoodRow>, EvaluationError> {
        let of_kind = |kind: Option<OodKind>| {
            let results = self.results.iter();
            let results = results.filter(|r| r.score == score && r.kind == kind);
            let rows: Option<Vec<OpenoodRow>> = results
                .map(|r| OpenoodRow::of_set(r, self.accuracy))
                .collect();
            rows.ok_or(EvaluationError::WithoutOpenoodMetrics)
        };
        let mut table = Vec::new();
        for (kind, mean) in [(OodKind::Near, "nearood"), (OodKind::Far, "farood")] {
            let rows = of_kind(Some(kind))?;
            if !rows.is_empty() {
                let mean = OpenoodRow::mean(mean, &rows);
                table.extend(rows);
                table.push(mean);
            }
        }
        table.extend(of_kind(None)?);
        Ok(table)
    }
}

/// Writes OpenOOD's table of every score as CSV, with the name of the score in a first column.
///
/// # Errors
/// [`EvaluationError::WithoutOpenoodMetrics`] as for [`Results::openood_rows`], and errors of the writer.
pub fn write_openood_rows(
    out: impl Write,
    results: &Results,
) -> Result<std::io::Result<()>, EvaluationError> {
    let mut scores: Vec<&'static str> = Vec::new();
    for r in &results.results {
        if !scores.contains(&r.score) {
            scores.push(r.score);
        }
    }
    let mut records = vec![
        std::iter::once("score")
            .chain(OpenoodRow::HEADING)
            .map(str::to_owned)
            .collect(),
    ];
    for score in scores {
        for row in results.openood_rows(score)? {
            records.push(
                std::iter::once(score.to_owned())
                    .chain(row.cells())
                    .collect::<Vec<String>>(),
            );
        }
    }
    let mut csv = csv::Writer::from_writer(out);
    let written = records
        .iter()
        .try_for_each(|record| csv.write_record(record));
    Ok(written.map_err(Into::into).and_then(|()| csv.flush()))
}

/// Writes a file with the content of [`write_openood_rows`].
///
/// # Errors
/// [`EvaluationError::WithoutOpenoodMetrics`] as for [`Results::openood_rows`], and [`EvaluationError::Write`]
/// if the file cannot be written.
pub fn write_openood_csv(path: impl AsRef<Path>, results: &Results) -> Result<(), EvaluationError> {
    let mut table = Vec::new();
    let path = path.as_ref();
    let written = write_openood_rows(&mut table, results)?;
    write(path, |out| written.and_then(|()| out.write_all(&table)))
}
