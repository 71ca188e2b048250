//! Destinations of rows: standard output, or a file that a killed run can resume.

mod file;
mod parquet;
mod printer;
mod target;
mod written;

pub(crate) use file::{FileOutput, RowLayout};
pub(crate) use printer::{Printer, print_tally};
pub(crate) use target::{Target, beside};

use super::rows::{Row, Value, columns};

/// Formats a row as the fields of a CSV record.
fn record(row: &Row, top: usize) -> Vec<String> {
    let field = |value: Value<'_>| match value {
        Value::Text(text) => text.unwrap_or_default().to_owned(),
        Value::Double(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Value::Float(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Value::Truth(truth) => truth.map(|t| t.to_string()).unwrap_or_default(),
    };
    row.values(top).into_iter().map(field).collect()
}
