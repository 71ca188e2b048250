//! What is printed for people: escaped, and not mixed with a progress bar.
//!
//! Names of files and classes, headers of archives and messages of other libraries come from outside.
//! They pass through here before they are printed. Output for programs (JSON, CSV, Parquet, the path
//! that `clipn train` prints) stays exact.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;

use clipn::text::{escape_control, escape_control_in_lines};
use indicatif::ProgressBar;

use crate::common::interrupt;

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

/// The bar that is drawn now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Makes lines go above this bar from now on.
pub(crate) fn show_bar(bar: &ProgressBar) {
    set_bar(Some(bar.clone()));
}

/// Forgets the bar. The caller clears it.
pub(crate) fn forget_bar() {
    set_bar(None);
}

fn set_bar(bar: Option<ProgressBar>) {
    // A poisoned lock means that another thread panicked, which is reported elsewhere.
    if let Ok(mut current) = BAR.lock() {
        *current = bar;
    }
}

/// Calls a function that writes to the terminal, while no bar is drawn on it.
pub(crate) fn without_bar<T>(write: impl FnOnce() -> T) -> T {
    // Do not keep the lock: the function may print further lines.
    let bar = BAR.lock().ok().and_then(|bar| bar.clone());
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Prints a line to standard error. If its reader has gone, as `head` does, the work is stopped;
/// other failures have nowhere to be reported.
pub(crate) fn print_line(text: impl Display) {
    let text = text.to_string();
    // Line feeds at the start set messages apart; others come from names.
    let line = text.trim_start_matches('\n');
    let space = &text[..text.len() - line.len()];
    let line = format!("{space}{}\n", printable(line));
    let printed = without_bar(|| io::stderr().write_all(line.as_bytes()));
    if printed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        interrupt::close_pipe();
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
