//! Text for people: what acts on a terminal is escaped.
//!
//! Names of files and classes, headers of archives and messages of other libraries come from outside.
//! They pass through here before they are printed. Output for programs (JSON, CSV, Parquet, the path
//! that `clipn train` prints) stays exact.

use std::borrow::Cow;
use std::io::{self, Write};

use clipn::text::{escape_control, escape_control_in_lines};

/// Maximum number of characters of a message or of a row of a table.
const MAX_CHARS: usize = 4000;

/// Escapes and cuts one line of text.
pub(crate) fn printable(line: &str) -> Cow<'_, str> {
    escape_control(line, MAX_CHARS)
}

/// Writer that escapes the text of several lines on its way to `0`; line feeds stay.
pub(crate) struct Escaped<W>(pub W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // `write!` passes whole strings, so that no character is split.
        let text = String::from_utf8_lossy(bytes);
        let escaped = escape_control_in_lines(&text, usize::MAX);
        self.0.write_all(escaped.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_control_characters_are_escaped() {
        let mut out = Vec::new();
        let name = "größe\u{1b}[31m";
        write!(Escaped(&mut out), "{name}\n\u{9b}\r").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "größe\\u{1b}[31m\n\\u{9b}\\r");
    }

    #[test]
    fn a_line_is_cut() {
        let line = printable(&"x".repeat(5_000_000)).into_owned();
        assert!(
            line.ends_with("… (4996000 more characters)"),
            "{}",
            line.len()
        );
    }
}
