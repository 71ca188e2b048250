//! Reading of CSV and TSV tables.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use crate::error::DatasetError;
use crate::tables::{list_keys, unlike_text};
use crate::training::captions::quoting::QuoteScan;
use crate::training::captions::{
    CaptionTable, CaptionTableFormat, RowProblem, TableQuoting, check_fields, refuse,
};
use crate::training::error::TrainingDataError;
use crate::training::skipped::SkipReason;

/// Reads all rows of a table.
pub(super) fn read(
    path: &Path,
    format: &CaptionTableFormat,
) -> Result<CaptionTable, TrainingDataError> {
    let separator = separator(format.separator)?;
    if let Some(found) = unlike_text(path) {
        return Err(refuse(
            path,
            format!("expected a CSV or TSV table, got {found}"),
        ));
    }
    let unreadable = |source| DatasetError::io(path, source);
    let scan = QuoteScan::read(path, separator).map_err(unreadable)?;
    let quoting = match format.quoting {
        TableQuoting::Auto => scan.quoting(path, separator),
        given => given,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .quoting(quoting == TableQuoting::Minimal)
        .flexible(true)
        .from_reader(BufReader::new(file));
    let damaged = |error: csv::Error| refuse(path, error.to_string());
    let header = reader.byte_headers().map_err(damaged)?.clone();
    let image = column(path, &header, &format.image_key)?;
    let caption = column(path, &header, &format.caption_key)?;
    let mut table = CaptionTable::new(path, &format.image_key, &format.caption_key);
    (table.quoting, table.has_quotes) = (quoting, scan.has_quotes);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(damaged)? {
        let line = record.position().map_or(0, csv::Position::line);
        let fields = check_columns(&record, header.len())
            .and_then(|()| check_fields(&record[image], &record[caption], &format.class_names));
        match fields {
            Err(problem) if reader.position().line() > line + 1 => {
                table.push_swallowed(line, reader.position().line() - line, problem);
            }
            fields => table.push(line, fields),
        }
    }
    Ok(table)
}

fn separator(separator: char) -> Result<u8, TrainingDataError> {
    u8::try_from(separator)
        .ok()
        .filter(|byte| byte.is_ascii() && *byte != b'"')
        .ok_or_else(|| TrainingDataError::Setting {
            setting: "separator",
            problem: format!("expected one ASCII character other than a quote, got `{separator}`"),
        })
}

fn check_columns(record: &ByteRecord, columns: usize) -> Result<(), RowProblem> {
    if record.len() == columns {
        Ok(())
    } else {
        Err((
            SkipReason::BadRow,
            "the number of columns differs from the header",
        ))
    }
}

/// Returns the index of a column; a byte order mark before the name is ignored.
fn column(path: &Path, header: &ByteRecord, key: &str) -> Result<usize, TrainingDataError> {
    let plain = |name: &[u8]| {
        String::from_utf8_lossy(name)
            .trim_start_matches('\u{feff}')
            .to_string()
    };
    let names: Vec<String> = header.iter().map(plain).collect();
    names.iter().position(|name| name == key).ok_or_else(|| {
        refuse(
            path,
            format!(
                "missing column `{key}`; columns in the header: {}",
                list_keys(&names)
            ),
        )
    })
}
