//! Text from outside made safe to print: names of files, headers of archives, messages of other
//! libraries, requests.
//!
//! ```
//! use clipn_base::text::escape_control;
//!
//! assert_eq!(escape_control("cat\u{1b}[31m.jpg\n", 80), "cat\\u{1b}[31m.jpg\\n");
//! assert_eq!(escape_control("abcdef", 3), "abc… (3 more characters)");
//! ```

use std::borrow::Cow;
use std::ops::Range;

/// Escapes the characters that act on a terminal or a log instead of being shown in it, and cuts
/// the text to `max_chars` characters; a note says how many more there were.
///
/// Escaped in the form of Rust (`\n`, `\u{1b}`): control characters (C0, DEL, C1), line and
/// paragraph separators, the characters that change the direction of text, and invisible tags.
/// Everything else stays as it is, backslashes and quotes included. An escape counts as the
/// characters it is written with.
#[must_use]
pub fn escape_control(text: &str, max_chars: usize) -> Cow<'_, str> {
    escape(text, max_chars, acts_on_terminal)
}

/// Same as [`escape_control`] for a text of several lines that the program composed: line feeds
/// stay as they are.
#[must_use]
pub fn escape_control_in_lines(text: &str, max_chars: usize) -> Cow<'_, str> {
    escape(text, max_chars, |c| c != '\n' && acts_on_terminal(c))
}

/// Puts the line of an error, counted from 1, before the message of a parser of whole texts. `span` is the
/// bytes that the parser names, if it names any. Lines of the message are joined.
///
/// ```
/// use clipn_base::text::at_line;
///
/// assert_eq!(at_line("a = 1\nb = \n", Some(10..11), "missing value"), "line 2: missing value");
/// assert_eq!(at_line("", None, "missing key"), "missing key");
/// ```
#[must_use]
pub fn at_line(text: &str, span: Option<Range<usize>>, message: &str) -> String {
    let message = message.replace('\n', " ");
    match span {
        Some(span) => {
            let before = text.bytes().take(span.start);
            let line = 1 + before.filter(|&byte| byte == b'\n').count();
            format!("line {line}: {message}")
        }
        None => message,
    }
}

fn escape(text: &str, max_chars: usize, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    // A character has at least one byte, so that most texts are measured without decoding.
    let fits = text.len() <= max_chars || text.chars().nth(max_chars).is_none();
    if fits && !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    let mut count = 0;
    let mut rest = text.chars();
    let mut left = rest.as_str();
    while let Some(c) = rest.next() {
        let length = match is_escaped(c) {
            true => c.escape_default().count(),
            false => 1,
        };
        if count + length > max_chars {
            let more = left.chars().count();
            let noun = if more == 1 { "character" } else { "characters" };
            escaped.push_str(&format!("… ({more} more {noun})"));
            break;
        }
        if is_escaped(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        count += length;
        left = rest.as_str();
    }
    Cow::Owned(escaped)
}

fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{206f}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in [
            "",
            "größe.jpg",
            r"C:\cats\'a' “b”",
            "e\u{301}",
            "👩\u{200d}🚀",
        ] {
            assert!(matches!(escape_control(text, 20), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        let cases = [
            ("a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
            ("a\r\n\tb\0", r"a\r\n\tb\u{0}"),
            ("\u{7f}\u{9b}31m", r"\u{7f}\u{9b}31m"),
            ("gpj.\u{202e}exe\u{2066}", r"gpj.\u{202e}exe\u{2066}"),
            ("a\u{2028}b\u{e0041}", r"a\u{2028}b\u{e0041}"),
        ];
        for (text, expected) in cases {
            assert_eq!(escape_control(text, 80), expected);
        }
        assert_eq!(
            escape_control_in_lines("a\n\u{1b}b\r", 80),
            "a\n\\u{1b}b\\r"
        );
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(escape_control("äöü", 3), "äöü");
        assert_eq!(escape_control("äöüß", 3), "äöü… (1 more character)");
        // An escape is written whole or not at all.
        assert_eq!(escape_control("ab\u{1b}cd", 4), "ab… (3 more characters)");
        assert_eq!(escape_control("x", 0), "… (1 more character)");
        let long = "x".repeat(5_000_000);
        assert_eq!(
            escape_control(&long, 100),
            format!("{}… (4999900 more characters)", "x".repeat(100))
        );
    }
}
