use std::io::{IsTerminal, Stdout, Write};

use clipn::count::count;
use clipn::dataset::SkippedFiles;
use clipn::detector::UNKNOWN;
use clipn::number::decimals;

use super::{Columns, Row, RowSink, columns, record};
use crate::commands::classify::rows::Tally;
use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::terminal::{printable, without_bar};

/// Writes rows to standard output as they are finished.
pub(crate) struct Printer {
    style: Style,
    columns: Columns,
    /// Whether standard output is a terminal, on which a progress bar may be drawn.
    on_terminal: bool,
}

enum Style {
    Table { explain: bool },
    Json,
    Csv(Box<csv::Writer<Stdout>>),
}

impl Printer {
    pub(crate) fn new(format: Format, layout: Columns, explain: bool) -> Result<Self, CliError> {
        let style = match format {
            Format::Table => Style::Table { explain },
            Format::Json => Style::Json,
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(std::io::stdout());
                csv.write_record(columns(layout))?;
                Style::Csv(Box::new(csv))
            }
        };
        Ok(Self {
            style,
            columns: layout,
            on_terminal: std::io::stdout().is_terminal(),
        })
    }

    fn write(&mut self, row: &Row) -> Result<(), CliError> {
        let mut out = std::io::stdout();
        match &mut self.style {
            Style::Table { explain } => {
                let reason = row.reason.as_deref().filter(|_| *explain);
                let reason = reason
                    .map(|reason| format!("\n    {}", printable(reason)))
                    .unwrap_or_default();
                writeln!(out, "{}{reason}", printable(&line(row))).map_err(CliError::Output)
            }
            Style::Json => {
                let json = serde_json::to_string(row)?;
                writeln!(out, "{json}").map_err(CliError::Output)
            }
            Style::Csv(csv) => {
                csv.write_record(record(row, self.columns))?;
                // A bar must not be drawn behind half a row.
                if self.on_terminal {
                    csv.flush().map_err(CliError::Output)?;
                }
                Ok(())
            }
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        match &mut self.style {
            Style::Csv(csv) => csv.flush().map_err(CliError::Output),
            Style::Table { .. } | Style::Json => Ok(()),
        }
    }
}

impl RowSink for Printer {
    fn row(&mut self, row: &Row) -> Result<(), CliError> {
        if self.on_terminal {
            without_bar(|| self.write(row))
        } else {
            self.write(row)
        }
    }

    fn sync(&mut self) -> Result<(), CliError> {
        self.finish()
    }
}

/// One image in one line: `dog.jpg: dog  (score 0.9120 ≥ 0.3200; dog p 0.930 q 0.980, …)`.
fn line(row: &Row) -> String {
    let path = &row.path;
    let Some(label) = row.label_or_unknown() else {
        return format!(
            "{path}: error: {}",
            row.error.as_deref().unwrap_or_default()
        );
    };
    let top: Vec<String> = row
        .top
        .iter()
        .map(|c| {
            let q = c.agreement.map(|q| format!(" q {q:.3}"));
            format!(
                "{} p {:.3}{}",
                c.label,
                c.probability,
                q.unwrap_or_default()
            )
        })
        .collect();
    let top = top.join(", ");
    let label = match (&row.negative, row.unknown) {
        (Some(negative), Some(true)) => format!("{label}, most like \"{}\"", negative.text),
        _ => label.to_owned(),
    };
    let (Some(score), Some(threshold)) = (row.score, row.threshold) else {
        return format!("{path}: {label}  ({top})");
    };
    let sign = if score >= threshold { '≥' } else { '<' };
    let (name, fixed) = match &row.adaptation {
        Some(adaptation) => (
            adaptation.method.as_str(),
            format!(
                "without memory {}; ",
                adaptation.fixed_label.as_deref().unwrap_or(UNKNOWN)
            ),
        ),
        None => ("score", String::new()),
    };
    let [score, threshold] = [score, threshold].map(|value| decimals(value, 4));
    format!("{path}: {label}  ({name} {score} {sign} {threshold}; {fixed}{top})")
}

/// Prints the counts of the images whose rows are in a file. `before` is the number of images that
/// a resumed run skipped; `skipped` are files that are no images.
pub(crate) fn print_tally(
    format: Format,
    tally: &Tally,
    skipped: &SkippedFiles,
    before: u64,
    output: &str,
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let Tally {
        images,
        labeled,
        unknown,
        unreadable,
        lost_sources,
    } = *tally;
    let written = match format {
        Format::Table => {
            let resumed = if before > 0 {
                format!(" ({before} of them in an earlier run)")
            } else {
                String::new()
            };
            let lost = match lost_sources {
                0 => String::new(),
                many => format!(", the rest of {} lost", count(many, "source")),
            };
            writeln!(
                out,
                "{}{resumed}: {labeled} labeled, {unknown} unknown, {unreadable} unreadable{lost}; \
                 {}",
                count(images, "image"),
                printable(output)
            )
        }
        Format::Json => {
            // `pictures` and `labelled` are the names of version 0.1.
            let counts = serde_json::json!({
                "images": images, "labeled": labeled, "unknown": unknown, "unreadable": unreadable,
                "lost_sources": lost_sources, "before": before, "output": output, "skipped_files": skipped,
                "pictures": images, "labelled": labeled,
            });
            writeln!(out, "{counts}")
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record([
                "images",
                "labeled",
                "unknown",
                "unreadable",
                "lost_sources",
                "before",
                "output",
                "skipped_files",
            ])?;
            let counts = [images, labeled, unknown, unreadable, lost_sources, before]
                .map(|count| count.to_string());
            let skipped = skipped.total().to_string();
            let counts = counts.iter().map(String::as_str);
            csv.write_record(counts.chain([output, &skipped]))?;
            return csv.flush().map_err(CliError::Output);
        }
    };
    written.map_err(CliError::Output)
}
