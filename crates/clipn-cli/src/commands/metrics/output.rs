//! Metrics on standard output.

use std::io::Write;

use clipn::evaluation::{FprFigure, MetricSpread, RepeatSummary, ScoreMetrics, ScoreReport};
use clipn::metrics::FprConvention;

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::numbers::thousands;
use crate::common::table::Table;
use crate::common::terminal::{Escaped, printable};

/// Prints metrics in the requested format.
pub(crate) fn print(report: &ScoreReport, format: Format) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Json => serde_json::to_writer_pretty(&mut out, report)
            .map_err(Into::into)
            .and_then(|()| writeln!(out)),
        Format::Csv => write_csv(&mut out, report),
        Format::Table => write_table(&mut Escaped(&mut out), report),
    };
    written.and_then(|()| out.flush()).map_err(CliError::Output)
}

fn conventions(report: &ScoreReport) -> Vec<FprConvention> {
    let first = report.results.first();
    first.map_or_else(Vec::new, |r| {
        r.metrics.fpr.iter().map(|f| f.convention).collect()
    })
}

/// Name of the FPR, such as FPR95.
fn fpr_name(report: &ScoreReport) -> String {
    // Rounded, so that 0.95 is 95 and not 95.00000000000001.
    let percent = (1e6 * report.tpr).round() / 1e4;
    format!("FPR{percent}")
}

/// Whether ranges over ties are wide enough to be shown: more than 0.05 percentage points.
fn wide(figure: &FprFigure) -> Option<[f64; 2]> {
    let [low, high] = figure.ties;
    (high - low > 5e-4).then_some([low, high])
}

fn write_table(out: &mut impl Write, report: &ScoreReport) -> std::io::Result<()> {
    write!(
        out,
        "{}: {} in-distribution score{}",
        printable(&report.id.name),
        thousands(report.id.n),
        if report.id.n == 1 { "" } else { "s" }
    )?;
    if let Some(column) = &report.set_column {
        write!(out, ", by the column `{}`", printable(column))?;
    }
    write!(
        out,
        "; higher is {}\nAUROC, AUPR (average precision) and {} in %",
        report.higher_is.as_str(),
        fpr_name(report)
    )?;
    let all = report.results.iter().map(|r| &r.metrics);
    let means = report.averages.iter().map(|a| &a.metrics);
    if all
        .chain(means)
        .flat_map(|metrics| &metrics.fpr)
        .any(|f| wide(f).is_some())
    {
        write!(
            out,
            "\n[lowest, highest {}] over every order of equal scores",
            fpr_name(report)
        )?;
    }
    if let Some(repeat) = &report.repeat {
        write!(
            out,
            "\n{}",
            repeat.over.description(repeat.n, repeat.subset)
        )?;
    }
    writeln!(out, "\n")?;
    let fpr = conventions(report)
        .into_iter()
        .map(|convention| format!("{} {convention}", fpr_name(report)));
    let heading = ["score", "OOD set", "AUROC", "AUPR-in", "AUPR-out"].map(str::to_owned);
    let mut table = Table::new(
        heading.into_iter().chain(fpr).chain(["scores".to_owned()]),
        2,
    );
    for r in &report.results {
        let count = thousands(r.n_ood);
        table.row(row(report, &r.score, &r.ood, &r.metrics, count));
    }
    for average in &report.averages {
        let count = String::new();
        table.row(row(report, &average.score, "mean", &average.metrics, count));
    }
    table.write(out)
}

fn row(
    report: &ScoreReport,
    score: &str,
    set: &str,
    metrics: &ScoreMetrics,
    count: String,
) -> Vec<String> {
    let repeat = report.repeat.as_ref();
    let area = |value: f64, spread: Option<MetricSpread>| percent(value, repeat.zip(spread));
    let mut cells = vec![
        score.to_owned(),
        set.to_owned(),
        area(metrics.auroc, metrics.spread.map(|s| s.auroc)),
        area(metrics.aupr_in, metrics.spread.map(|s| s.aupr_in)),
        area(metrics.aupr_out, metrics.spread.map(|s| s.aupr_out)),
    ];
    cells.extend(metrics.fpr.iter().map(|figure| {
        let ties = wide(figure).map_or_else(String::new, |[low, high]| {
            format!(" [{}, {}]", percent(low, None), percent(high, None))
        });
        area(figure.fpr, figure.spread) + &ties
    }));
    cells.push(count);
    cells
}

/// Formats a fraction in percent, with its spread if there is one.
fn percent(value: f64, varied: Option<(&RepeatSummary, MetricSpread)>) -> String {
    match varied {
        Some((repeat, spread)) => format!(
            "{:.2} ± {:.2}",
            100.0 * repeat.over.center(value, &spread),
            100.0 * spread.std
        ),
        None => format!("{:.2}", 100.0 * value),
    }
}

/// Writes one row per score and set; means over sets have the set `mean` and no counts.
fn write_csv(out: &mut impl Write, report: &ScoreReport) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let fpr = conventions(report).into_iter().flat_map(|convention| {
        ["", "_ties_low", "_ties_high"].map(|end| format!("fpr_{convention}{end}"))
    });
    let mut heading: Vec<String> = ["score", "ood", "auroc", "aupr_in", "aupr_out"]
        .map(Into::into)
        .into();
    heading.extend(fpr);
    heading.extend(["tpr", "n_id", "n_ood", "distinct"].map(Into::into));
    if report.repeat.is_some() {
        let areas = ["auroc", "aupr_in", "aupr_out"]
            .map(str::to_owned)
            .into_iter();
        let fpr = conventions(report).into_iter().map(|c| format!("fpr_{c}"));
        let names = areas.chain(fpr);
        heading.extend(names.flat_map(|name| [format!("{name}_mean"), format!("{name}_std")]));
    }
    csv.write_record(&heading)?;
    for r in &report.results {
        let counts = [r.n_id, r.n_ood, r.distinct].map(|n| n.to_string());
        csv.write_record(record(report, &r.score, &r.ood, &r.metrics, counts))?;
    }
    for average in &report.averages {
        let counts = [(); 3].map(|()| String::new());
        csv.write_record(record(
            report,
            &average.score,
            "mean",
            &average.metrics,
            counts,
        ))?;
    }
    csv.flush()
}

fn record(
    report: &ScoreReport,
    score: &str,
    set: &str,
    metrics: &ScoreMetrics,
    counts: [String; 3],
) -> Vec<String> {
    let mut cells = vec![score.to_owned(), set.to_owned()];
    cells.extend([metrics.auroc, metrics.aupr_in, metrics.aupr_out].map(|v| v.to_string()));
    for figure in &metrics.fpr {
        let [low, high] = figure.ties;
        cells.extend([figure.fpr, low, high].map(|v| v.to_string()));
    }
    cells.push(report.tpr.to_string());
    cells.extend(counts);
    let areas = metrics.spread.map(|s| [s.auroc, s.aupr_in, s.aupr_out]);
    let spreads = areas
        .into_iter()
        .flatten()
        .chain(metrics.fpr.iter().filter_map(|f| f.spread));
    cells.extend(spreads.flat_map(|s| [s.mean.to_string(), s.std.to_string()]));
    cells
}
