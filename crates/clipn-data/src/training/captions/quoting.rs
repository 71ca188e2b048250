//! Detection of whether quotes in a table enclose fields.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use crate::training::captions::TableQuoting;

/// Maximum length of a line in bytes that is looked at; longer ones decide nothing.
const MAX_LINE: u64 = 1 << 20;

/// What a table's quotes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuoteScan {
    /// Whether a field begins with a quote.
    pub has_quotes: bool,
    /// Whether a field is quoted throughout, with quotes in it doubled.
    has_quoted_fields: bool,
    /// Whether a line has another number of separators than the first.
    has_uneven_lines: bool,
}

impl QuoteScan {
    /// Looks at every line of a table.
    pub(super) fn read(path: &Path, separator: u8) -> io::Result<Self> {
        let mut scan = Self {
            has_quotes: false,
            has_quoted_fields: false,
            has_uneven_lines: false,
        };
        let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
        let mut columns = None;
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(scan);
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                continue;
            }
            scan.add(text, separator, &mut columns);
        }
    }

    fn add(&mut self, line: &[u8], separator: u8, columns: &mut Option<usize>) {
        let mut count = 0;
        for field in line.split(|&byte| byte == separator) {
            count += 1;
            self.has_quotes |= field.first() == Some(&b'"');
            self.has_quoted_fields |= is_quoted(field);
        }
        self.has_uneven_lines |= *columns.get_or_insert(count) != count;
    }

    /// Returns the quoting of a table, given a path and a separator.
    pub(super) fn quoting(self, path: &Path, separator: u8) -> TableQuoting {
        let is_tsv = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
        if !is_tsv || !self.has_quotes || self.has_quoted_fields {
            return TableQuoting::Minimal;
        }
        // Quoted fields may all hold line ends; then their lines are uneven, and their rows are not.
        if self.has_uneven_lines && uneven_rows(path, separator).is_ok_and(|uneven| uneven == 0) {
            return TableQuoting::Minimal;
        }
        TableQuoting::None
    }
}

/// Whether a field is enclosed in quotes, and every quote in it is doubled.
fn is_quoted(field: &[u8]) -> bool {
    let inner = field
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| {
        inner
            .split(|&byte| byte != b'"')
            .all(|quotes| quotes.len() % 2 == 0)
    })
}

/// Counts the rows whose number of columns differs from the first, with quotes that enclose fields.
fn uneven_rows(path: &Path, separator: u8) -> csv::Result<u64> {
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .has_headers(false)
        .from_path(path)?;
    let (mut columns, mut uneven) = (None, 0);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        uneven += u64::from(*columns.get_or_insert(record.len()) != record.len());
    }
    Ok(uneven)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_are_enclosed_and_have_doubled_quotes() {
        for quoted in ["\"a\"", "\"\"", "\"a \"\"b\"\"\""] {
            assert!(is_quoted(quoted.as_bytes()), "{quoted}");
        }
        for plain in ["a", "\"", "\"a", "a\"", "\"a\" or \"b\"", "\"a\" b"] {
            assert!(!is_quoted(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn quotes_enclose_fields_if_one_is_quoted_throughout() {
        let directory = tempfile::tempdir().unwrap();
        let quoting = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            QuoteScan::read(&path, b'\t').unwrap().quoting(&path, b'\t')
        };
        let open = "a\tb\n1.jpg\t\"a bowl\n2.jpg\t\"stop\" sign\n";
        assert_eq!(quoting("open.tsv", open), TableQuoting::None);
        assert_eq!(quoting("open.csv", open), TableQuoting::Minimal);
        let whole = "a\tb\r\n1.jpg\t\"a \"\"bowl\"\"\"\r\n2.jpg\t\"open\r\n";
        assert_eq!(quoting("whole.tsv", whole), TableQuoting::Minimal);
        let lines = "a\tb\n1.jpg\t\"a bowl\nof soup\"\n2.jpg\tx\n";
        assert_eq!(quoting("lines.tsv", lines), TableQuoting::Minimal);
        assert_eq!(quoting("plain.tsv", "a\tb\n1\t2\n"), TableQuoting::Minimal);
    }
}
