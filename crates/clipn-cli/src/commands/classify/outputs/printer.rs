use std::io::{Stdout, Write};

use super::{Row, columns, record};
use crate::common::args::Format;
use crate::commands::classify::rows::Tally;
use crate::common::error::CliError;

/// Writes rows to standard output as they come.
pub struct Printer {
    form: Form,
    top: usize,
}

enum Form {
    Table { explain: bool },
    Json,
    Csv(Box<csv::Writer<Stdout>>),
}

impl Printer {
    pub fn new(format: Format, top: usize, explain: bool) -> Result<Self, CliError> {
        let form = match format {
            Format::Table => Form::Table { explain },
            Format::Json => Form::Json,
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(std::io::stdout());
                csv.write_record(columns(top))?;
                Form::Csv(Box::new(csv))
            }
        };
        Ok(Self { form, top })
    }

    pub fn row(&mut self, row: &Row) -> Result<(), CliError> {
        let mut out = std::io::stdout();
        match &mut self.form {
            Form::Table { explain } => {
                let reason = row.reason.as_deref().filter(|_| *explain);
                let reason = reason
                    .map(|reason| format!("\n    {reason}"))
                    .unwrap_or_default();
                writeln!(out, "{}{reason}", line(row)).map_err(CliError::Output)
            }
            Form::Json => {
                let json = serde_json::to_string(row)?;
                writeln!(out, "{json}").map_err(CliError::Output)
            }
            Form::Csv(csv) => Ok(csv.write_record(record(row, self.top))?),
        }
    }

    pub fn finish(&mut self) -> Result<(), CliError> {
        match &mut self.form {
            Form::Csv(csv) => csv.flush().map_err(CliError::Output),
            Form::Table { .. } | Form::Json => Ok(()),
        }
    }
}

/// A picture in one line: `dog.jpg: dog  (score 0.9120 ≥ 0.3200; dog p 0.930 q 0.980, cat p 0.050 q 0.610)`.
fn line(row: &Row) -> String {
    let path = &row.path;
    let Some(label) = &row.label else {
        return format!(
            "{path}: error: {}",
            row.error.as_deref().unwrap_or_default()
        );
    };
    let top: Vec<String> = row
        .top
        .iter()
        .map(|c| format!("{} p {:.3} q {:.3}", c.label, c.p, c.q))
        .collect();
    let top = top.join(", ");
    let (Some(score), Some(threshold)) = (row.score, row.threshold) else {
        return format!("{path}: {label}  ({top})");
    };
    let sign = if score >= threshold { '≥' } else { '<' };
    format!("{path}: {label}  (score {score:.4} {sign} {threshold:.4}; {top})")
}

/// Prints what became of the pictures whose rows are in a file.
pub fn print_tally(
    format: Format,
    tally: &Tally,
    before: u64,
    output: &str,
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let Tally {
        pictures,
        labelled,
        unknown,
        unreadable,
    } = *tally;
    let written = match format {
        Format::Table => {
            let went_on = if before > 0 {
                format!(" ({before} of them before)")
            } else {
                String::new()
            };
            writeln!(
                out,
                "{pictures} pictures{went_on}: {labelled} labelled, {unknown} unknown, {unreadable} unreadable; {output}"
            )
        }
        Format::Json => {
            let counts = serde_json::json!({
                "pictures": pictures, "labelled": labelled, "unknown": unknown, "unreadable": unreadable,
                "before": before, "output": output,
            });
            writeln!(out, "{counts}")
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record([
                "pictures",
                "labelled",
                "unknown",
                "unreadable",
                "before",
                "output",
            ])?;
            let counts =
                [pictures, labelled, unknown, unreadable, before].map(|count| count.to_string());
            csv.write_record(counts.iter().map(String::as_str).chain([output]))?;
            return csv.flush().map_err(CliError::Output);
        }
    };
    written.map_err(CliError::Output)
}
