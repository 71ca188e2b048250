//! Results on standard output.

use std::io::Write;

use clipn::dataset::OodKind;
use clipn::evaluation::{
    EvaluationRecord, MetricSpread, MetricSpreads, Results, Spread, write_record_rows,
};
use clipn::metrics::FprConvention;
use clipn::scores::by_name;

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::table::Table;
use crate::common::terminal::Escaped;

/// Prints results in the requested format.
pub(crate) fn print(record: &EvaluationRecord, format: Format) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, record)?;
            writeln!(out)
        }
        Format::Csv => write_record_rows(&mut out, record),
        Format::Table => write_record(&mut Escaped(&mut out), record),
    };
    written.and_then(|()| out.flush()).map_err(CliError::Output)
}

/// Writes the tables of a record; classes and FPR convention come from its settings.
fn write_record(out: &mut impl Write, record: &EvaluationRecord) -> std::io::Result<()> {
    let classes = record.settings["classes"].as_u64();
    let convention = record.settings["fpr_convention"]
        .as_str()
        .and_then(|name| name.parse().ok());
    write_parts(
        out,
        &record.results,
        record.spread.as_ref(),
        classes,
        convention,
    )
}

/// Writes a summary of the in-distribution set and a table of scores × out-of-distribution sets.
pub(crate) fn write_tables(
    out: &mut impl Write,
    results: &Results,
    classes: u64,
    convention: FprConvention,
) -> std::io::Result<()> {
    write_parts(out, results, None, Some(classes), Some(convention))
}

fn write_parts(
    out: &mut impl Write,
    results: &Results,
    spread: Option<&Spread>,
    classes: Option<u64>,
    convention: Option<FprConvention>,
) -> std::io::Result<()> {
    write!(out, "{}: {} images", results.id.name, results.id.n)?;
    if let Some(classes) = classes {
        write!(out, ", {classes} classes")?;
    }
    if let Some(accuracy) = results.accuracy {
        let varied = spread.and_then(|spread| Some((spread, spread.accuracy?)));
        write!(out, ", accuracy {} %", percent(accuracy, varied))?;
    }
    write!(out, "\nAUROC / FPR95 in %")?;
    if let Some(convention) = convention {
        write!(out, ", FPR95 convention `{convention}`")?;
    }
    if let Some(ties) = results.ties_description() {
        write!(out, "\n{ties}")?;
    }
    if let Some(spread) = spread {
        write!(out, "\n{}", spread.description())?;
    }
    writeln!(out, "\n")?;
    table(results, spread).write(out)
}

/// Formats a metric in percent, with its spread if there is one.
fn percent(value: f64, varied: Option<(&Spread, MetricSpread)>) -> String {
    match varied {
        Some((spread, v)) => format!(
            "{:.2} ± {:.2}",
            100.0 * spread.center(value, &v),
            100.0 * v.std
        ),
        None => format!("{:.2}", 100.0 * value),
    }
}

fn cell(
    auroc: f64,
    fpr95: f64,
    ties: Option<[f64; 2]>,
    varied: Option<(&Spread, &MetricSpreads)>,
) -> String {
    let of = |pick: fn(&MetricSpreads) -> MetricSpread| varied.map(|(spread, v)| (spread, pick(v)));
    let ties = ties.map_or_else(String::new, |[low, high]| {
        format!(" [{}, {}]", percent(low, None), percent(high, None))
    });
    format!(
        "{} / {}{ties}",
        percent(auroc, of(|v| v.auroc)),
        percent(fpr95, of(|v| v.fpr95))
    )
}

fn table(results: &Results, spread: Option<&Spread>) -> Table {
    let mut sets: Vec<(&str, Option<OodKind>, usize)> = Vec::new();
    let mut scores: Vec<&str> = Vec::new();
    for r in &results.results {
        if sets.last().is_none_or(|last| last.0 != r.ood) {
            sets.push((&r.ood, r.kind, r.n_ood));
        }
        if !scores.contains(&r.score) {
            scores.push(r.score);
        }
    }
    let kinds: Vec<Option<OodKind>> = [Some(OodKind::Near), Some(OodKind::Far), None]
        .into_iter()
        .filter(|kind| results.averages.iter().any(|a| a.kind == *kind))
        .collect();
    let mut heading = vec!["score".to_owned()];
    heading.extend(sets.iter().map(|(name, kind, _)| match kind {
        Some(kind) => format!("{name} ({kind})"),
        None => (*name).to_owned(),
    }));
    heading.extend(kinds.iter().map(|kind| match kind {
        Some(kind) => format!("mean of {kind}"),
        None => "mean".to_owned(),
    }));
    let mut table = Table::new(heading, 1);
    for score in scores {
        let mut row = vec![
            by_name(score)
                .map_or(score, |s| s.display_name())
                .to_owned(),
        ];
        let of_score = results.results.iter().filter(|r| r.score == score);
        row.extend(of_score.map(|r| {
            let varied = spread.and_then(|spread| Some((spread, spread.result(score, &r.ood)?)));
            cell(r.auroc, r.fpr95, r.wide_ties(), varied)
        }));
        for kind in &kinds {
            let average = results
                .averages
                .iter()
                .find(|a| a.kind == *kind && a.score == score);
            let varied = spread.and_then(|spread| Some((spread, spread.average(score, *kind)?)));
            row.extend(average.map(|a| cell(a.auroc, a.fpr95, a.wide_ties(), varied)));
        }
        table.row(row);
    }
    let mut counts = vec!["images".to_owned()];
    counts.extend(sets.iter().map(|(_, _, n)| n.to_string()));
    table.row(counts);
    table
}
