//! Results with their spread as CSV.

use std::io::Write;
use std::path::Path;

use clipn_ood::scores::by_name;

use crate::error::EvaluationError;
use crate::metric_spread::MetricSpread;
use crate::output::{further_cells, further_heading, ties_cells, write, write_results_csv};
use crate::record::EvaluationRecord;
use crate::results::OodResult;
use crate::spread::MetricSpreads;

/// Writes the columns of [`write_results_csv`]. If there is a spread, adds a mean and a sample
/// standard deviation for each metric (`AUROC-mean`, `AUROC-std`, …), and `n`, the number of
/// repeats or runs. The range of FPR95 over ties and the further metrics come last.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
pub fn write_record_csv(
    path: impl AsRef<Path>,
    record: &EvaluationRecord,
    epoch: Option<&str>,
) -> Result<(), EvaluationError> {
    let path = path.as_ref();
    if record.spread.is_none() {
        return write_results_csv(path, &record.results, epoch);
    }
    write(path, |out| {
        let mut csv = csv::Writer::from_writer(out);
        let names = ["AUROC", "FPR@95", "AUPR-in", "AUPR-out"];
        let heading = ["epoch", "method", "oodset"]
            .into_iter()
            .chain(names)
            .chain(["kind", "n_id", "n_ood"]);
        csv.write_record(
            heading
                .map(str::to_owned)
                .chain(spread_heading(record, names, '-'))
                .chain(["FPR@95-low", "FPR@95-high"].map(str::to_owned))
                .chain(further_heading(&record.results, '-')),
        )?;
        for r in &record.results.results {
            let method = by_name(r.score).map_or(r.score, |score| score.display_name());
            let start = [epoch.unwrap_or_default(), method, &r.ood].map(str::to_owned);
            csv.write_record(
                start
                    .into_iter()
                    .chain(metrics(r))
                    .chain(rest(r))
                    .chain(spread(record, r))
                    .chain(ties_cells(r))
                    .chain(further_cells(r, &record.results)),
            )?;
        }
        csv.flush()
    })
}

/// Writes one row per score and set with the names of [`OodResult`]'s fields as columns, and
/// `auroc_mean`, `auroc_std` and so on if there is a spread.
///
/// # Errors
/// Errors of the writer.
pub fn write_record_rows(out: impl Write, record: &EvaluationRecord) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let names = ["auroc", "fpr95", "aupr_in", "aupr_out"];
    let heading = ["score", "ood", "kind"]
        .into_iter()
        .chain(names)
        .chain(["n_id", "n_ood"]);
    csv.write_record(
        heading
            .map(str::to_owned)
            .chain(spread_heading(record, names, '_'))
            .chain(["fpr95_ties_low", "fpr95_ties_high"].map(str::to_owned))
            .chain(further_heading(&record.results, '_')),
    )?;
    for r in &record.results.results {
        let [kind, counts @ ..] = rest(r);
        let start = [r.score.to_owned(), r.ood.clone(), kind];
        csv.write_record(
            start
                .into_iter()
                .chain(metrics(r))
                .chain(counts)
                .chain(spread(record, r))
                .chain(ties_cells(r))
                .chain(further_cells(r, &record.results)),
        )?;
    }
    csv.flush()
}

fn metrics(r: &OodResult) -> [String; 4] {
    [r.auroc, r.fpr95, r.aupr_in, r.aupr_out].map(|value| format!("{value:?}"))
}

fn rest(r: &OodResult) -> [String; 3] {
    let kind = r.kind.map(|kind| kind.to_string()).unwrap_or_default();
    [kind, r.n_id.to_string(), r.n_ood.to_string()]
}

fn spread_heading(record: &EvaluationRecord, names: [&str; 4], separator: char) -> Vec<String> {
    if record.spread.is_none() {
        return Vec::new();
    }
    let mean_and_std = |name: &str| {
        [
            format!("{name}{separator}mean"),
            format!("{name}{separator}std"),
        ]
    };
    names
        .into_iter()
        .flat_map(mean_and_std)
        .chain(["n".to_owned()])
        .collect()
}

fn spread(record: &EvaluationRecord, r: &OodResult) -> Vec<String> {
    let Some(spread) = &record.spread else {
        return Vec::new();
    };
    let Some(MetricSpreads {
        auroc,
        fpr95,
        aupr_in,
        aupr_out,
        ..
    }) = spread.result(r.score, &r.ood)
    else {
        return vec![String::new(); 9];
    };
    let mean_and_std = |v: &MetricSpread| [format!("{:?}", v.mean), format!("{:?}", v.std)];
    [auroc, fpr95, aupr_in, aupr_out]
        .into_iter()
        .flat_map(mean_and_std)
        .chain([spread.n.to_string()])
        .collect()
}
