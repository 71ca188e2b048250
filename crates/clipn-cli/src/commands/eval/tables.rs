//! Results on standard output.

use std::io::Write;

use clipn::count::count;
use clipn::dataset::OodKind;
use clipn::evaluation::{
    EvaluationRecord, FprFigure, MetricSpread, MetricSpreads, Results, Spread, write_openood_rows,
    write_record_rows,
};
use clipn::metrics::FprConvention;

use super::columns::{Set, axes, column_names, display_name, percent};
use super::documents::{write_latex, write_markdown};
use super::streams;
use crate::common::args::ResultFormat;
use crate::common::error::CliError;
use crate::common::messages::note;
use crate::common::table::Table;
use crate::common::terminal::Escaped;

/// Prints results in the requested format.
pub(crate) fn print(record: &EvaluationRecord, format: ResultFormat) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = match format {
        ResultFormat::Json => {
            serde_json::to_writer_pretty(&mut out, record)?;
            writeln!(out)
        }
        ResultFormat::Csv => write_record_rows(&mut out, record),
        ResultFormat::Table => {
            let out = &mut Escaped(&mut out);
            write_record(out, record).and_then(|()| match &record.streams {
                Some(streams) => streams::write_table(out, streams),
                None => Ok(()),
            })
        }
        ResultFormat::Markdown => write_markdown(&mut Escaped(&mut out), record),
        ResultFormat::Latex => write_latex(&mut Escaped(&mut out), record),
        ResultFormat::Openood => write_openood_rows(&mut out, &record.results)?,
    };
    written
        .and_then(|()| out.flush())
        .map_err(CliError::Output)?;
    let has_streams = [
        ResultFormat::Json,
        ResultFormat::Table,
        ResultFormat::Markdown,
    ];
    if record.streams.is_some() && !has_streams.contains(&format) {
        note("this format has no place for the streams; see --format table, markdown or json");
    }
    Ok(())
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
    write!(out, "{}: {}", results.id.name, count(results.id.n, "image"))?;
    if let Some(classes) = classes {
        write!(out, ", {}", count(classes, "class"))?;
    }
    if let Some(accuracy) = results.accuracy {
        let varied = spread.and_then(|spread| Some((spread, spread.accuracy?)));
        write!(out, ", accuracy {} %", percent(accuracy, varied))?;
    }
    for part in &results.id.parts {
        write!(out, "\n  of them {}: {}", part.name, count(part.n, "image"))?;
        if let Some(accuracy) = part.accuracy {
            write!(out, ", accuracy {} %", percent(accuracy, None))?;
        }
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
    table(results, spread).write(out)?;
    match convention.and_then(|convention| rates_table(results, convention)) {
        Some((names, table)) => {
            writeln!(out, "\n{names} in %\n")?;
            table.write(out)
        }
        None => Ok(()),
    }
}

/// The names and the table of the FPR at other true positive rates than 0.95, if there are any.
fn rates_table(results: &Results, convention: FprConvention) -> Option<(String, Table)> {
    let others = |figures: &[FprFigure]| -> Vec<FprFigure> {
        let is_other = |f: &&FprFigure| f.convention == convention && f.tpr != 0.95;
        figures.iter().filter(is_other).copied().collect()
    };
    let names: Vec<String> = others(&results.results.first()?.fpr)
        .iter()
        .map(FprFigure::name)
        .collect();
    if names.is_empty() {
        return None;
    }
    let cell = |figures: &[FprFigure]| {
        let values = others(figures)
            .into_iter()
            .map(|figure| percent(figure.fpr, None));
        values.collect::<Vec<_>>().join(" / ")
    };
    let (sets, scores, kinds) = axes(results);
    let mut table = Table::new(heading(&sets, &kinds), 1);
    for score in scores {
        let of_score = results.results.iter().filter(|r| r.score == score);
        let means = kinds.iter().filter_map(|kind| {
            results
                .averages
                .iter()
                .find(|a| a.kind == *kind && a.score == score)
        });
        let cells = of_score
            .map(|r| cell(&r.fpr))
            .chain(means.map(|a| cell(&a.fpr)));
        table.row(std::iter::once(display_name(score).to_owned()).chain(cells));
    }
    Some((names.join(" / "), table))
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

fn heading(sets: &[Set<'_>], kinds: &[Option<OodKind>]) -> Vec<String> {
    let mut heading = vec!["score".to_owned()];
    heading.extend(column_names(sets, kinds));
    heading
}

fn table(results: &Results, spread: Option<&Spread>) -> Table {
    let (sets, scores, kinds) = axes(results);
    let mut table = Table::new(heading(&sets, &kinds), 1);
    for score in scores {
        let mut row = vec![display_name(score).to_owned()];
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
