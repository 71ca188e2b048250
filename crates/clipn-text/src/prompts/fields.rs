//! Splitting of a line into fields that may be quoted.

/// Field of a line, without the white space and the quotes around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Field {
    /// Whether the field begins with a double quotation mark that is not closed. A single one may be an
    /// apostrophe, and two enclose a part, as in `"Bell" pepper`.
    pub(super) fn is_unclosed(&self) -> bool {
        !self.quoted
            && self
                .text
                .strip_prefix('"')
                .is_some_and(|rest| !rest.contains('"'))
    }
}

/// Splits a line at a delimiter outside quotes. A field is quoted if it begins with a quotation mark
/// and ends with the same one; other quotation marks are plain text, as in `rock 'n' roll`. A
/// delimiter at the end of the line adds no field.
pub(super) fn split_fields(line: &str, delimiter: char) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match quoted_field(rest, delimiter) {
            Some((text, after)) => (Field { text, quoted: true }, after),
            None => {
                let (text, after) = match rest.split_once(delimiter) {
                    Some((text, after)) => (text, Some(after)),
                    None => (rest, None),
                };
                let text = text.trim().to_owned();
                (
                    Field {
                        text,
                        quoted: false,
                    },
                    after,
                )
            }
        };
        fields.push(field);
        match after {
            Some(after) if !after.trim().is_empty() => rest = after,
            _ => return fields,
        }
    }
}

/// Reads a quoted field; returns its text and what follows the delimiter, if one follows.
fn quoted_field(rest: &str, delimiter: char) -> Option<(String, Option<&str>)> {
    let start = rest.trim_start_matches(|c: char| c.is_whitespace() && c != delimiter);
    let quote = start.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut text = String::new();
    let mut characters = start.char_indices().skip(1).peekable();
    while let Some((index, c)) = characters.next() {
        match c {
            '\\' if characters
                .peek()
                .is_some_and(|&(_, next)| matches!(next, '"' | '\'' | '\\')) =>
            {
                text.extend(characters.next().map(|(_, c)| c));
            }
            // A doubled quotation mark is a literal one, as in CSV.
            c if c == quote && characters.peek().is_some_and(|&(_, next)| next == quote) => {
                characters.next();
                text.push(quote);
            }
            c if c == quote => {
                let after = start[index + c.len_utf8()..]
                    .trim_start_matches(|c: char| c.is_whitespace() && c != delimiter);
                return match after.strip_prefix(delimiter) {
                    Some(next) => Some((text, Some(next))),
                    None if after.is_empty() => Some((text, None)),
                    // A quotation mark inside the field.
                    None => None,
                };
            }
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Vec<(String, bool)> {
        split_fields(line, ',')
            .into_iter()
            .map(|field| (field.text, field.quoted))
            .collect()
    }

    #[test]
    fn quotes_enclose_delimiters() {
        let (yes, no) = (true, false);
        assert_eq!(
            fields("\"a, b\", 'c' ,d ,"),
            [("a, b".into(), yes), ("c".into(), yes), ("d".into(), no)]
        );
        assert_eq!(fields("\"say \"\"hi\"\"\""), [("say \"hi\"".into(), yes)]);
        assert_eq!(fields("'it\\'s'"), [("it's".into(), yes)]);
    }

    #[test]
    fn quotes_without_end_are_found() {
        let unclosed = |line: &str| split_fields(line, ',').iter().any(Field::is_unclosed);
        for line in ["\"a, b", "a, \"b", "\"", "\"a, b\" c"] {
            assert!(unclosed(line), "{line:?}");
        }
        for line in [
            "\"a, b\"",
            "\"Bell\" pepper",
            "'tis",
            "5\" pipe",
            "\"\"\"a\"",
        ] {
            assert!(!unclosed(line), "{line:?}");
        }
    }

    #[test]
    fn quotes_inside_a_field_are_text() {
        for text in [
            "rock 'n' roll",
            "'tis the season",
            "5\" pipe",
            "'a' or b",
            "\"a",
        ] {
            assert_eq!(fields(text), [(text.to_owned(), false)]);
        }
        assert_eq!(fields(""), [(String::new(), false)]);
        assert_eq!(fields("a,,b").len(), 3);
    }
}
