//! The rows that a run has left behind, whole or torn.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use serde::Deserialize;

use crate::commands::classify::args::Form;
use crate::commands::classify::rows::Fate;

/// A row that is there: the picture's name, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub name: String,
    pub fate: Fate,
}

/// The fields of a row of JSON that matter here.
#[derive(Deserialize)]
struct Told {
    path: String,
    label: Option<String>,
    error: Option<String>,
}

/// Gives `seen` every whole row of a file, and returns how many bytes they are: what follows is a torn row, or nothing.
/// A row is whole when its line is ended. `heading` is the first record of a CSV file.
pub fn read<E: From<io::Error>>(
    form: Form,
    file: &mut File,
    heading: &[String],
    seen: impl FnMut(Done) -> Result<(), E>,
) -> Result<u64, E> {
    file.seek(SeekFrom::Start(0))?;
    match form {
        Form::Csv => read_csv(file, heading, seen),
        Form::Jsonl | Form::Parquet => read_jsonl(file, seen),
    }
}

fn read_jsonl<E: From<io::Error>>(
    file: &mut File,
    mut seen: impl FnMut(Done) -> Result<(), E>,
) -> Result<u64, E> {
    let mut source = BufReader::new(file);
    let (mut whole, mut number) = (0, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = source.read_until(b'\n', &mut line)?;
        number += 1;
        if line.pop() != Some(b'\n') {
            return Ok(whole);
        }
        let told: Told =
            serde_json::from_slice(&line).map_err(|error| damaged(number, &error.to_string()))?;
        let fate = Fate::of(told.label.as_deref(), told.error.as_deref());
        seen(Done {
            name: told.path,
            fate,
        })?;
        whole += length as u64;
    }
}

fn read_csv<E: From<io::Error>>(
    file: &mut File,
    heading: &[String],
    mut seen: impl FnMut(Done) -> Result<(), E>,
) -> Result<u64, E> {
    let size = file.metadata()?.len();
    // The last column never has a line end in it, so the file's last byte is one only where the last row is whole, or
    // where a torn one has fewer fields.
    let ended = size > 0 && {
        file.seek(SeekFrom::Start(size - 1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        last == *b"\n"
    };
    file.seek(SeekFrom::Start(0))?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(BufReader::new(file));
    let (mut whole, mut number) = (0, 0u64);
    let mut record = csv::ByteRecord::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(io::Error::from)?
    {
        let end = reader.position().byte();
        let is_last = end >= size;
        if is_last && (!ended || record.len() != heading.len()) {
            return Ok(whole);
        }
        if number == 0 && !record.iter().eq(heading.iter().map(String::as_bytes)) {
            return Err(damaged(1, "it is not the heading of these rows").into());
        }
        if record.len() != heading.len() {
            return Err(damaged(
                number + 1,
                "it has another number of fields than the heading",
            )
            .into());
        }
        if number > 0 {
            let field = |index: usize| String::from_utf8_lossy(&record[index]);
            let (label, error) = (field(1), field(heading.len() - 1));
            let fate = Fate::of(Some(&label), Some(&error));
            seen(Done {
                name: field(0).into_owned(),
                fate,
            })?;
        }
        number += 1;
        whole = end;
    }
    Ok(whole)
}

fn damaged(number: u64, problem: &str) -> io::Error {
    let message =
        format!("row {number} is damaged ({problem}), so it cannot be gone on with: use --force");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{columns, record};
    use super::*;
    use crate::commands::classify::rows::{Candidate, Row};

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
                row.score = Some(0.5);
                row.top = vec![Candidate {
                    label: "cat\n".to_owned(),
                    p: 0.25,
                    q: 1.0,
                }];
                row.reason = Some("why, \n\"so\"".to_owned());
            }
            row
        };
        names.iter().enumerate().map(row).collect()
    }

    /// The bytes of a file, and where its rows end.
    fn written(form: Form) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        if form == Form::Csv {
            let mut csv = csv::Writer::from_writer(&mut bytes);
            csv.write_record(columns(2)).unwrap();
            csv.flush().unwrap();
        }
        for row in rows() {
            if form == Form::Csv {
                let mut csv = csv::Writer::from_writer(&mut bytes);
                csv.write_record(record(&row, 2)).unwrap();
            } else {
                serde_json::to_writer(&mut bytes, &row).unwrap();
                bytes.push(b'\n');
            }
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read_back(form: Form, bytes: &[u8]) -> io::Result<(u64, Vec<Done>)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut found = Vec::new();
        let whole = read(form, &mut file, &columns(2), |done| {
            found.push(done);
            Ok::<_, io::Error>(())
        })?;
        Ok((whole, found))
    }

    #[test]
    fn a_file_that_was_cut_anywhere_gives_its_whole_rows() {
        for form in [Form::Jsonl, Form::Csv] {
            let (bytes, ends) = written(form);
            let heading = if form == Form::Csv {
                columns(2).join(",").len() + 1
            } else {
                0
            };
            for cut in 0..=bytes.len() {
                let (whole, found) = read_back(form, &bytes[..cut]).unwrap();
                let expected = ends.iter().filter(|&&end| end <= cut).count();
                assert_eq!(found.len(), expected, "{form:?} cut at {cut}");
                let end = match expected {
                    0 if cut >= heading => heading,
                    0 => 0,
                    n => ends[n - 1],
                };
                assert_eq!(whole, end as u64, "{form:?} cut at {cut}");
                for (done, row) in found.iter().zip(rows()) {
                    assert_eq!((&done.name, done.fate), (&row.path, row.fate()));
                }
            }
        }
    }

    #[test]
    fn damage_in_the_middle_is_told() {
        let (mut broken, ends) = written(Form::Jsonl);
        broken[ends[0] + 3] = b'\n';
        assert!(
            read_back(Form::Jsonl, &broken)
                .unwrap_err()
                .to_string()
                .contains("row 2 is damaged")
        );
        let other = read_back(Form::Csv, b"a,b\n1,2\n").unwrap_err();
        assert!(other.to_string().contains("heading"), "{other}");
    }
}
