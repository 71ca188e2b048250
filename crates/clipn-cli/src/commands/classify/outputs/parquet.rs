//! Parquet output. A Parquet file cannot be appended to and is unreadable without its footer, so
//! rows are kept as JSONL until the last one is written.

use super::{Columns, Target};
use crate::common::error::CliError;

#[cfg(feature = "parquet")]
pub(crate) fn convert(target: &Target, layout: Columns) -> Result<(), CliError> {
    use std::fs::File;
    use std::io::{BufRead, BufReader};

    use clipn::evaluation::{Cell, ColumnKind, ParquetWriter};

    use super::{Row, Value, columns};

    let unreadable = |source| CliError::ReadFile {
        path: target.rows.clone(),
        source,
    };
    let empty = Row::failed(String::new(), "");
    let kinds = empty.values(layout).into_iter().map(|value| match value {
        Value::Text(_) => ColumnKind::Text,
        Value::Double(_) => ColumnKind::Double,
        Value::Float(_) => ColumnKind::Float,
        Value::Truth(_) => ColumnKind::Boolean,
    });
    let kinds: Vec<_> = columns(layout).into_iter().zip(kinds).collect();
    let mut table = ParquetWriter::create(&target.path, &kinds)?;
    let mut rows = BufReader::new(File::open(&target.rows).map_err(unreadable)?);
    let mut line = Vec::new();
    while rows.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        let row: Row = Row::parse(&line).map_err(|error| unreadable(error.into()))?;
        let cells = row.values(layout).into_iter().map(|value| match value {
            Value::Text(text) => Cell::Text(text),
            Value::Double(number) => Cell::Double(number),
            Value::Float(number) => Cell::Float(number),
            Value::Truth(truth) => Cell::Boolean(truth),
        });
        table.push(&cells.collect::<Vec<_>>())?;
        line.clear();
    }
    table.finish()?;
    // From here on the Parquet file is the output.
    clipn::files::remove_file(&target.rows).map_err(|source| CliError::WriteFile {
        path: target.path.clone(),
        source,
    })
}

#[cfg(not(feature = "parquet"))]
pub(crate) fn convert(target: &Target, _: Columns) -> Result<(), CliError> {
    let _ = &target.path;
    Err(CliError::usage(
        "this clipn was built without the feature `parquet`",
    ))
}
