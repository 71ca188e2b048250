//! JSON Lines: one JSON object per line.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

/// Maximum length of a line in bytes.
const MAX_LINE: u64 = 1 << 20;

/// One line of a file.
#[derive(Debug)]
pub(crate) enum JsonLine {
    Object(Map<String, Value>),
    /// Why the line is malformed.
    Malformed(&'static str),
}

/// Iterator over the lines of a file and their numbers, from 1. Blank lines are skipped.
#[derive(Debug)]
pub(crate) struct JsonLines<R> {
    source: R,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> JsonLines<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            number: 0,
            line: Vec::new(),
        }
    }

    /// Returns the next line; `None` at the end.
    ///
    /// # Errors
    /// The error of the source.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, JsonLine)>> {
        loop {
            self.line.clear();
            (&mut self.source)
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line)?;
            if self.line.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() as u64 == MAX_LINE && self.line.last() != Some(&b'\n') {
                self.skip_line()?;
                let problem = JsonLine::Malformed("the line exceeds 1048576 bytes");
                return Ok(Some((self.number, problem)));
            }
            let text = self
                .line
                .strip_prefix(b"\xef\xbb\xbf")
                .unwrap_or(&self.line);
            let text = text.trim_ascii();
            if !text.is_empty() {
                return Ok(Some((self.number, parse(text))));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.source.fill_buf()?;
            let (length, is_end) = match buffer.iter().position(|&byte| byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.source.consume(length);
            if is_end {
                return Ok(());
            }
        }
    }
}

fn parse(line: &[u8]) -> JsonLine {
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => JsonLine::Object(object),
        Ok(_) => JsonLine::Malformed("the line is not a JSON object"),
        Err(_) => JsonLine::Malformed("the line is not valid JSON"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(bytes: &[u8]) -> Vec<(u64, bool)> {
        let mut lines = JsonLines::new(bytes);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push((number, matches!(line, JsonLine::Object(_))));
        }
        found
    }

    #[test]
    fn objects_keep_their_line_numbers() {
        let text = b"\xef\xbb\xbf{\"a\": 1}\r\n\n[2]\n{\"a\n{}";
        assert_eq!(
            numbers(text),
            [(1, true), (3, false), (4, false), (5, true)]
        );
        let long = [vec![b'{'; 3 << 20], b"\n{}\n".to_vec()].concat();
        assert_eq!(numbers(&long), [(1, false), (2, true)]);
    }

    proptest! {
        #[test]
        fn reading_ends_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(numbers(&bytes).len() <= bytes.len());
        }
    }
}
