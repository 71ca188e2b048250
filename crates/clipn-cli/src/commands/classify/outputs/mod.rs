//! Destinations of rows: standard output, or a file that a killed run can resume.

mod file;
mod parquet;
mod printer;
mod target;
mod written;

pub(crate) use file::{FileOutput, RowLayout};
pub(crate) use printer::{Printer, print_tally};
pub(crate) use target::{Target, beside};

use super::rows::{Columns, Row, Value, columns};
use crate::common::error::CliError;

/// Where rows go.
pub(crate) trait RowSink {
    /// Takes a row.
    fn row(&mut self, row: &Row) -> Result<(), CliError>;

    /// Makes sure that the rows survive a crash, if the place can.
    fn sync(&mut self) -> Result<(), CliError>;
}

/// Formats a row as the fields of a CSV record.
fn record(row: &Row, columns: Columns) -> Vec<String> {
    let field = |value: Value<'_>| match value {
        Value::Text(text) => text.unwrap_or_default().to_owned(),
        Value::Double(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Value::Float(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Value::Truth(truth) => truth.map(|t| t.to_string()).unwrap_or_default(),
    };
    row.values(columns).into_iter().map(field).collect()
}
