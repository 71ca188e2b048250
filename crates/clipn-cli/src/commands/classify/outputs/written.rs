//! The rows that an earlier run wrote. The last one may be incomplete.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use clipn::detector::Detection;
use serde::Deserialize;

use super::Target;
use crate::commands::classify::args::OutputFormat;
use crate::commands::classify::rows::Outcome;
use crate::common::error::CliError;

/// A row of an earlier run: the image's name, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenRow {
    pub name: String,
    pub outcome: Outcome,
}

/// The fields of a JSON row that a resumed run needs.
#[derive(Deserialize)]
struct JsonFields {
    path: String,
    schema_version: Option<u32>,
    label: Option<String>,
    unknown: Option<bool>,
    error: Option<String>,
}

/// Passes every complete row of a file to `on_row`, and returns their length in bytes: what
/// follows is an incomplete row, or nothing. A row is complete if its line is ended. `header` is
/// the first record of a CSV file.
///
/// # Errors
/// [`CliError::ReadFile`] if the file cannot be read, [`CliError::DamagedRow`] if a row before the
/// last is invalid, and the errors of `on_row`.
pub(crate) fn read(
    target: &Target,
    file: &mut (impl Read + Seek),
    header: &[String],
    on_row: &mut dyn FnMut(WrittenRow) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    match target.format {
        OutputFormat::Csv => read_csv(target, file, header, on_row),
        OutputFormat::Jsonl | OutputFormat::Parquet => read_jsonl(target, file, on_row),
    }
}

fn read_jsonl(
    target: &Target,
    file: &mut (impl Read + Seek),
    on_row: &mut dyn FnMut(WrittenRow) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let unreadable = |source| unreadable(target, source);
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut reader = BufReader::new(file);
    let (mut complete, mut number) = (0, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(unreadable)?;
        number += 1;
        if line.pop() != Some(b'\n') {
            return Ok(complete);
        }
        let fields: JsonFields = serde_json::from_slice(&line)
            .map_err(|error| damaged(target, number, &error.to_string()))?;
        let version = fields.schema_version.unwrap_or_default();
        if version != Detection::SCHEMA_VERSION && target.format == OutputFormat::Jsonl {
            return Err(CliError::usage_with_hint(
                format!(
                    "cannot resume {}: row {number} has schema version {version}, and this version of \
                     clipn writes {}",
                    target.rows.display(),
                    Detection::SCHEMA_VERSION
                ),
                "start over with --force, or give another --output",
            ));
        }
        let outcome = Outcome::from_fields(
            fields.label.as_deref(),
            fields.unknown,
            fields.error.as_deref(),
        );
        on_row(WrittenRow {
            name: fields.path,
            outcome,
        })?;
        complete += length as u64;
    }
}

fn read_csv(
    target: &Target,
    file: &mut (impl Read + Seek),
    header: &[String],
    on_row: &mut dyn FnMut(WrittenRow) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let (size, ends_with_newline) = end(file).map_err(|source| unreadable(target, source))?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(BufReader::new(file));
    let (mut complete, mut number) = (0, 0u64);
    let mut record = csv::ByteRecord::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| unreadable(target, error.into()))?
    {
        let end = reader.position().byte();
        let is_last = end >= size;
        if is_last && (!ends_with_newline || record.len() != header.len()) {
            return Ok(complete);
        }
        if number == 0 && !record.iter().eq(header.iter().map(String::as_bytes)) {
            return Err(damaged(target, 1, "it is not the header of these rows"));
        }
        if record.len() != header.len() {
            let problem = format!("expected {} fields, got {}", header.len(), record.len());
            return Err(damaged(target, number + 1, &problem));
        }
        if number > 0 {
            let field = |index: usize| String::from_utf8_lossy(&record[index]);
            let (label, error) = (field(1), field(header.len() - 1));
            on_row(WrittenRow {
                name: field(0).into_owned(),
                outcome: Outcome::from_fields(Some(&label), None, Some(&error)),
            })?;
        }
        number += 1;
        complete = end;
    }
    Ok(complete)
}

/// The size of a file, and whether its last byte is a newline. The file is left at its start.
///
/// The last column never contains a newline. So the last byte is one only if the last row is
/// complete, or if an incomplete row has fewer fields.
fn end(file: &mut (impl Read + Seek)) -> io::Result<(u64, bool)> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut last = [0];
    if size > 0 {
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((size, last == *b"\n"))
}

fn unreadable(target: &Target, source: io::Error) -> CliError {
    CliError::ReadFile {
        path: target.rows.clone(),
        source,
    }
}

fn damaged(target: &Target, row: u64, problem: &str) -> CliError {
    CliError::DamagedRow {
        path: target.rows.clone(),
        row,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clipn::detector::Candidate;

    use super::super::{Columns, columns, record};
    use super::*;
    use crate::commands::classify::rows::Row;

    const TWO: Columns = Columns {
        top: 2,
        adapted: false,
    };

    fn rows() -> Vec<Row> {
        let names = [
            "a.jpg",
            "b,\"c\".jpg",
            "line\nend.jpg",
            "ünï.png",
            "",
            "last.jpg",
        ];
        let row = |(index, name): (usize, &&str)| {
            let mut row = Row::failed((*name).to_owned(), "it is\nbroken");
            if index % 2 == 0 {
                row.error = None;
                row.label = Some("cat, \"the\"".to_owned());
                row.unknown = Some(false);
                row.score = Some(0.5);
                row.top = vec![Candidate::new(0, "cat\n", 0.25, 1.0)];
                row.reason = Some("why, \n\"so\"".to_owned());
            }
            row
        };
        names.iter().enumerate().map(row).collect()
    }

    /// The bytes of a file, and the offsets at which its rows end.
    fn written(format: OutputFormat) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        if format == OutputFormat::Csv {
            let mut csv = csv::Writer::from_writer(&mut bytes);
            csv.write_record(columns(TWO)).unwrap();
            csv.flush().unwrap();
        }
        for row in rows() {
            if format == OutputFormat::Csv {
                let mut csv = csv::Writer::from_writer(&mut bytes);
                csv.write_record(record(&row, TWO)).unwrap();
            } else {
                serde_json::to_writer(&mut bytes, &row).unwrap();
                bytes.push(b'\n');
            }
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read_back(format: OutputFormat, bytes: &[u8]) -> Result<(u64, Vec<WrittenRow>), CliError> {
        let target = Target::new("rows".into(), Some(format)).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut found = Vec::new();
        let complete = read(&target, &mut file, &columns(TWO), &mut |row| {
            found.push(row);
            Ok(())
        })?;
        Ok((complete, found))
    }

    #[test]
    fn a_file_cut_anywhere_yields_its_complete_rows() {
        for format in [OutputFormat::Jsonl, OutputFormat::Csv] {
            let (bytes, ends) = written(format);
            let header = if format == OutputFormat::Csv {
                columns(TWO).join(",").len() + 1
            } else {
                0
            };
            for cut in 0..=bytes.len() {
                let (complete, found) = read_back(format, &bytes[..cut]).unwrap();
                let expected = ends.iter().filter(|&&end| end <= cut).count();
                assert_eq!(found.len(), expected, "{format:?} cut at {cut}");
                let end = match expected {
                    0 if cut >= header => header,
                    0 => 0,
                    n => ends[n - 1],
                };
                assert_eq!(complete, end as u64, "{format:?} cut at {cut}");
                for (found, row) in found.iter().zip(rows()) {
                    assert_eq!((&found.name, found.outcome), (&row.path, row.outcome()));
                }
            }
        }
    }

    #[test]
    fn rows_of_another_schema_are_not_continued() {
        let (mut rows, _) = written(OutputFormat::Jsonl);
        let version = rows.windows(4).position(|four| four == b"\":2,").unwrap();
        rows[version + 2] = b'1';
        let error = read_back(OutputFormat::Jsonl, &rows).unwrap_err();
        assert!(
            error.to_string().contains("row 1 has schema version 1"),
            "{error}"
        );
    }

    #[test]
    fn reports_damage_in_the_middle() {
        let (mut broken, ends) = written(OutputFormat::Jsonl);
        broken[ends[0] + 3] = b'\n';
        let error = read_back(OutputFormat::Jsonl, &broken).unwrap_err();
        assert!(
            error.to_string().starts_with("row 2 of rows is damaged"),
            "{error}"
        );
        let error = read_back(OutputFormat::Csv, b"a,b\n1,2\n").unwrap_err();
        assert!(error.to_string().contains("header"), "{error}");
    }
}
