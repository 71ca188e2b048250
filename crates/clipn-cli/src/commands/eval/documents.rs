//! The table of results for documents: Markdown and LaTeX.

use std::io::Write;

use clipn::count::count;
use clipn::evaluation::streams::StreamRecord;
use clipn::evaluation::{EvaluationRecord, MetricSpread, MetricSpreads, Spread};

use super::columns::{axes, column_names, display_name, percent};

/// A figure for comparison, and its text.
#[derive(Clone)]
struct Figure {
    value: f64,
    text: String,
}

/// AUROC and FPR95 of one score in one column.
type Cell = [Figure; 2];

/// The table of scores and sets.
struct Grid {
    /// Sets, then means over sets.
    columns: Vec<String>,
    /// Name of a score, and its cells.
    rows: Vec<(String, Vec<Cell>)>,
}

impl Grid {
    fn new(record: &EvaluationRecord) -> Self {
        let results = &record.results;
        let spread = record.spread.as_ref();
        let (sets, scores, kinds) = axes(results);
        let row = |score: &&'static str| {
            let of_sets = results
                .results
                .iter()
                .filter(|r| r.score == *score)
                .map(|r| {
                    let varied = spread.and_then(|spread| spread.result(score, &r.ood));
                    cell([r.auroc, r.fpr95], r.wide_ties(), spread.zip(varied))
                });
            let of_kind = |kind| {
                results
                    .averages
                    .iter()
                    .find(|a| a.kind == kind && a.score == *score)
            };
            let means = kinds.iter().filter_map(|&kind| of_kind(kind)).map(|a| {
                let varied = spread.and_then(|spread| spread.average(score, a.kind));
                cell([a.auroc, a.fpr95], a.wide_ties(), spread.zip(varied))
            });
            (
                display_name(score).to_owned(),
                of_sets.chain(means).collect(),
            )
        };
        Self {
            columns: column_names(&sets, &kinds),
            rows: scores.iter().map(row).collect(),
        }
    }

    /// Whether AUROC (`metric` 0) or FPR95 (1) of a row is the best of its column, of several rows.
    fn is_best(&self, row: usize, column: usize, metric: usize) -> bool {
        let value = |row: &(String, Vec<Cell>)| row.1.get(column).map(|cell| cell[metric].value);
        let Some(own) = value(&self.rows[row]) else {
            return false;
        };
        let mut others = self.rows.iter().filter_map(value);
        self.rows.len() > 1
            && others.all(|other| {
                if metric == 0 {
                    other <= own
                } else {
                    other >= own
                }
            })
    }
}

fn cell(
    [auroc, fpr95]: [f64; 2],
    ties: Option<[f64; 2]>,
    varied: Option<(&Spread, &MetricSpreads)>,
) -> Cell {
    let figure = |value: f64, pick: fn(&MetricSpreads) -> MetricSpread| {
        let varied = varied.map(|(spread, metrics)| (spread, pick(metrics)));
        Figure {
            value: varied.map_or(value, |(spread, v)| spread.center(value, &v)),
            text: percent(value, varied),
        }
    };
    let mut fpr95 = figure(fpr95, |v| v.fpr95);
    if let Some([low, high]) = ties {
        fpr95.text += &format!(" [{}, {}]", percent(low, None), percent(high, None));
    }
    [figure(auroc, |v| v.auroc), fpr95]
}

/// What the table shows, in sentences.
fn caption(record: &EvaluationRecord) -> String {
    let results = &record.results;
    let mut caption = format!("{}: {}", results.id.name, count(results.id.n, "image"));
    if let Some(classes) = record.settings["classes"].as_u64() {
        caption += &format!(", {}", count(classes, "class"));
    }
    if let Some(accuracy) = results.accuracy {
        let varied = record
            .spread
            .as_ref()
            .and_then(|spread| Some((spread, spread.accuracy?)));
        caption += &format!(", accuracy {} %", percent(accuracy, varied));
    }
    caption += ". AUROC and FPR95 in %";
    if let Some(convention) = record.settings["fpr_convention"].as_str() {
        caption += &format!(", FPR95 in the convention {convention}");
    }
    if let Some(ties) = results.ties_description() {
        caption += &format!("; {ties}");
    }
    if let Some(spread) = &record.spread {
        caption += &format!("; {}", spread.description());
    }
    caption + "."
}

/// Writes the results as a Markdown table, with the best figure of each column in bold.
pub(super) fn write_markdown(
    out: &mut impl Write,
    record: &EvaluationRecord,
) -> std::io::Result<()> {
    let grid = Grid::new(record);
    writeln!(out, "{}\n", markdown(&caption(record)))?;
    write!(out, "| score |")?;
    for name in &grid.columns {
        write!(out, " {} |", markdown(name))?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(grid.columns.len()))?;
    for (row, (score, cells)) in grid.rows.iter().enumerate() {
        write!(out, "| {} |", markdown(score))?;
        for (column, cell) in cells.iter().enumerate() {
            let figure = |metric: usize| {
                let text = markdown(&cell[metric].text);
                if grid.is_best(row, column, metric) {
                    format!("**{text}**")
                } else {
                    text
                }
            };
            write!(out, " {} / {} |", figure(0), figure(1))?;
        }
        writeln!(out)?;
    }
    match &record.streams {
        Some(streams) => write_streams(out, streams),
        None => Ok(()),
    }
}

/// Writes the table of scores that learn from the stream.
fn write_streams(out: &mut impl Write, streams: &StreamRecord) -> std::io::Result<()> {
    let headings = StreamRecord::HEADINGS;
    writeln!(out, "\n{}\n", markdown(&streams.caption()))?;
    writeln!(out, "| {} |", headings.join(" | "))?;
    writeln!(out, "|---|---|{}", "---:|".repeat(headings.len() - 2))?;
    for result in &streams.results {
        let cells = result.cells().map(|cell| markdown(&cell));
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// Writes the results as a LaTeX table with the rules of booktabs, and the best figure of each column in
/// bold.
pub(super) fn write_latex(out: &mut impl Write, record: &EvaluationRecord) -> std::io::Result<()> {
    let grid = Grid::new(record);
    let columns = grid.columns.len();
    writeln!(out, "% \\usepackage{{booktabs}}")?;
    writeln!(out, "% {}", caption(record))?;
    writeln!(out, "\\begin{{tabular}}{{l{}}}", "rr".repeat(columns))?;
    writeln!(out, "\\toprule")?;
    for name in &grid.columns {
        write!(out, " & \\multicolumn{{2}}{{c}}{{{}}}", latex(name))?;
    }
    writeln!(out, " \\\\")?;
    for column in 0..columns {
        write!(
            out,
            "\\cmidrule(lr){{{}-{}}}",
            2 * column + 2,
            2 * column + 3
        )?;
    }
    writeln!(out)?;
    let metrics = " & AUROC $\\uparrow$ & FPR95 $\\downarrow$".repeat(columns);
    writeln!(out, "Score{metrics} \\\\")?;
    writeln!(out, "\\midrule")?;
    for (row, (score, cells)) in grid.rows.iter().enumerate() {
        write!(out, "{}", latex(score))?;
        for (column, cell) in cells.iter().enumerate() {
            for (metric, figure) in cell.iter().enumerate() {
                let text = latex(&figure.text);
                if grid.is_best(row, column, metric) {
                    write!(out, " & \\textbf{{{text}}}")?;
                } else {
                    write!(out, " & {text}")?;
                }
            }
        }
        writeln!(out, " \\\\")?;
    }
    writeln!(out, "\\bottomrule\n\\end{{tabular}}")
}

/// Escapes what Markdown would interpret.
fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '#'
        ) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Escapes what LaTeX would interpret.
fn latex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "\\textless{}",
            '>' => escaped += "\\textgreater{}",
            '|' => escaped += "\\textbar{}",
            '"' => escaped += "\\textquotedbl{}",
            '±' => escaped += "$\\pm$",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_a_cell_or_start_a_command() {
        assert_eq!(markdown("a|b_c*d"), "a\\|b\\_c\\*d");
        assert_eq!(
            latex("50% of A&B_{x}\\y ~^#$"),
            "50\\% of A\\&B\\_\\{x\\}\\textbackslash{}y \\textasciitilde{}\\textasciicircum{}\\#\\$"
        );
        assert_eq!(latex("1.0 ± 0.5"), "1.0 $\\pm$ 0.5");
    }
}
