//! Metrics on standard output.

use std::io::Write;

use clipn::count::noun;
use clipn::evaluation::{FprFigure, MetricSpread, RepeatSummary, ScoreMetrics, ScoreReport};

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

/// FPR figures of the report, in the order of their columns.
fn figures(report: &ScoreReport) -> &[FprFigure] {
    report.results.first().map_or(&[], |r| &r.metrics.fpr)
}

/// Names of the FPR, such as FPR95.
fn fpr_names(report: &ScoreReport) -> String {
    let mut names: Vec<String> = figures(report).iter().map(FprFigure::name).collect();
    names.dedup();
    names.join(", ")
}

fn write_table(out: &mut impl Write, report: &ScoreReport) -> std::io::Result<()> {
    write!(
        out,
        "{}: {} in-distribution {}",
        printable(&report.id.name),
        thousands(report.id.n),
        noun(&report.id.n, "score")
    )?;
    if let Some(column) = &report.set_column {
        let columns = if column.contains(", ") {
            "columns"
        } else {
            "column"
        };
        write!(out, ", by the {columns} `{}`", printable(column))?;
    }
    write!(
        out,
        "; higher is {}\nAUROC, AUPR as average precision (AP) and by the trapezoidal rule, and {} in %",
        report.higher_is.as_str(),
        fpr_names(report)
    )?;
    let all = report.results.iter().map(|r| &r.metrics);
    let means = report.averages.iter().map(|a| &a.metrics);
    if all
        .chain(means)
        .flat_map(|metrics| &metrics.fpr)
        .any(|f| f.wide_ties().is_some())
    {
        write!(
            out,
            "\n[lowest, highest {}] over every order of equal scores",
            fpr_names(report)
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
    let fpr = figures(report)
        .iter()
        .map(|figure| format!("{} {}", figure.name(), figure.convention));
    let heading = [
        "score",
        "OOD set",
        "AUROC",
        "AP-in",
        "AP-out",
        "trapezoid-in",
        "trapezoid-out",
    ]
    .map(str::to_owned);
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
        area(
            metrics.aupr_in_trapezoid,
            metrics.spread.map(|s| s.aupr_in_trapezoid),
        ),
        area(
            metrics.aupr_out_trapezoid,
            metrics.spread.map(|s| s.aupr_out_trapezoid),
        ),
    ];
    cells.extend(metrics.fpr.iter().map(|figure| {
        let ties = figure.wide_ties().map_or_else(String::new, |[low, high]| {
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
    let names = csv_names(report);
    let fpr = names
        .iter()
        .flat_map(|name| ["", "_ties_low", "_ties_high"].map(|end| format!("{name}{end}")));
    let mut heading: Vec<String> = ["score", "ood", "auroc", "aupr_in", "aupr_out"]
        .map(Into::into)
        .into();
    heading.extend(fpr);
    heading.extend(["tpr", "n_id", "n_ood", "distinct"].map(Into::into));
    if report.repeat.is_some() {
        let areas = ["auroc", "aupr_in", "aupr_out"]
            .map(str::to_owned)
            .into_iter();
        let names = areas.chain(names);
        heading.extend(names.flat_map(|name| [format!("{name}_mean"), format!("{name}_std")]));
    }
    heading.extend(["aupr_in_trapezoid", "aupr_out_trapezoid"].map(Into::into));
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
    cells.extend([metrics.aupr_in_trapezoid, metrics.aupr_out_trapezoid].map(|v| v.to_string()));
    cells
}

/// Names of the columns of the FPR: `fpr_clipn` at the first true positive rate, which the column `tpr`
/// has, and `fpr99_clipn` at a further one.
fn csv_names(report: &ScoreReport) -> Vec<String> {
    let name = |figure: &FprFigure| {
        if figure.tpr == report.tpr {
            format!("fpr_{}", figure.convention)
        } else {
            format!("fpr{}_{}", figure.percent(), figure.convention)
        }
    };
    figures(report).iter().map(name).collect()
}
