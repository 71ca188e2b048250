//! Parser of JSON and of Python literals: strings, numbers, lists, tuples and dictionaries.
//!
//! Unlike a parser of JSON alone, it keeps the order and the duplicate keys of a dictionary, and
//! reads what people copy from notebooks: single quotes, trailing commas, comments, and an
//! assignment in front.
use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;
use std::sync::LazyLock;

use regex::Regex;

/// Maximum depth of nested lists and dictionaries.
const MAX_DEPTH: usize = 16;

/// A value with the line it begins on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) value: Value,
    pub(super) line: usize,
}

/// Value of a [`Literal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// Number as written.
    Number(String),
    /// Constant such as `null` or `True`.
    Constant(String),
    List(Vec<Literal>),
    /// Entries in the order of the text, duplicate keys included.
    Dict(Vec<(Literal, Literal)>),
}

/// Error of a malformed literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line}, column {column}")]
pub(super) struct LiteralError {
    problem: String,
    line: usize,
    column: usize,
}

impl Literal {
    /// Whether a text begins like a list or a dictionary, or like a tuple behind an assignment. A tuple
    /// without one is recognized if it is all of the text: a name may begin with a parenthesis.
    pub(super) fn is_start_of(text: &str) -> bool {
        let (body, assigned) = after_assignment(text);
        match body.strip_prefix('(') {
            Some(items) => {
                let quoted = items.trim_start().starts_with(['"', '\'']);
                assigned || (quoted && Self::parse(text).is_ok())
            }
            None => body.starts_with(['[', '{']),
        }
    }

    /// Parses a text that contains one value, with an optional assignment in front of it.
    pub(super) fn parse(text: &str) -> Result<Self, LiteralError> {
        let (body, _) = after_assignment(text);
        let skipped = text.len() - body.len();
        let mut parser = Parser {
            text,
            characters: text.char_indices().peekable(),
            line: 1,
        };
        while parser.position() < skipped {
            parser.bump();
        }
        let literal = parser.value(0)?;
        parser.skip_blank();
        while parser.peek() == Some(';') {
            parser.bump();
            parser.skip_blank();
        }
        match parser.peek() {
            None => Ok(literal),
            Some(_) => Err(parser.error("expected the end of the text")),
        }
    }

    /// The text of a string.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, also one in quotes, as the keys of JSON are.
    pub(super) fn as_index(&self) -> Option<usize> {
        match &self.value {
            Value::Number(text) | Value::Text(text) => {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse().ok()).flatten()
            }
            _ => None,
        }
    }
}

/// Reads the quoted string at the start of a text; returns it with what follows, or a description of
/// what is wrong with it.
pub(super) fn quoted_prefix(text: &str) -> Result<(String, &str), String> {
    let mut parser = Parser {
        text,
        characters: text.char_indices().peekable(),
        line: 1,
    };
    let string = parser.string(false).map_err(|error| error.problem)?;
    Ok((string, &text[parser.position()..]))
}

impl fmt::Display for Literal {
    /// Describes the kind of the value, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(_) => f.write_str("a string"),
            Value::Number(number) => write!(f, "the number {number}"),
            Value::Constant(name) => write!(f, "{name}"),
            Value::List(items) => write!(f, "a list of {}", items.len()),
            Value::Dict(entries) => write!(f, "a dictionary of {}", entries.len()),
        }
    }
}

/// Returns the text without white space, comments and an assignment in front of it, and whether there
/// is an assignment. It may have an annotation, as in `names: list[str] = [...]`.
fn after_assignment(text: &str) -> (&str, bool) {
    static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^[\w.]+\s*(?::[^=\n]*)?=\s*([\[{(])").expect("a constant that compiles")
    });
    let mut text = text.trim_start();
    while let Some(comment) = text.strip_prefix('#') {
        text = comment
            .split_once('\n')
            .map_or("", |(_, rest)| rest)
            .trim_start();
    }
    let value = ASSIGNMENT.captures(text).and_then(|found| found.get(1));
    match value {
        Some(value) => (&text[value.start()..], true),
        None => (text, false),
    }
}

struct Parser<'a> {
    text: &'a str,
    characters: Peekable<CharIndices<'a>>,
    /// Line of the next character, from 1.
    line: usize,
}

impl Parser<'_> {
    fn position(&mut self) -> usize {
        self.characters
            .peek()
            .map_or(self.text.len(), |&(index, _)| index)
    }

    fn error(&mut self, problem: impl Into<String>) -> LiteralError {
        let before = &self.text[..self.position()];
        let last = before.rsplit('\n').next().unwrap_or_default();
        LiteralError {
            problem: problem.into(),
            line: self.line,
            column: last.chars().count() + 1,
        }
    }

    fn bump(&mut self) -> Option<(usize, char)> {
        let next = self.characters.next();
        self.line += usize::from(matches!(next, Some((_, '\n'))));
        next
    }

    fn peek(&mut self) -> Option<char> {
        self.characters.peek().map(|&(_, c)| c)
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.bump();
                }
            } else if c.is_whitespace() {
                self.bump();
            } else {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        self.skip_blank();
        let line = self.line;
        let value = match self.peek() {
            Some(_) if depth > MAX_DEPTH => return Err(self.error("too deeply nested")),
            Some('[') => Value::List(self.items(']', depth)?),
            Some('(') => Value::List(self.items(')', depth)?),
            Some('{') => Value::Dict(self.entries(depth)?),
            Some('"' | '\'') => Value::Text(self.string(false)?),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+') => Value::Number(
                self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')),
            ),
            Some(c) if c.is_alphabetic() => {
                let word = self.word(|c| c.is_alphanumeric() || c == '_');
                match self.peek() {
                    // Prefixes of Python's strings, as in f'a photo of a {c}.'.
                    Some('"' | '\'') if word.len() <= 2 => {
                        let raw = word.contains(['r', 'R']);
                        Value::Text(self.string(raw)?)
                    }
                    _ if matches!(
                        word.as_str(),
                        "null" | "true" | "false" | "None" | "True" | "False"
                    ) =>
                    {
                        Value::Constant(word)
                    }
                    _ => return Err(self.error(format!("`{word}` is not in quotes"))),
                }
            }
            Some(c) => return Err(self.error(format!("unexpected `{c}`"))),
            None => return Err(self.error("unexpected end of the text")),
        };
        Ok(Literal { value, line })
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|&c| belongs(c)) {
            word.push(c);
            self.bump();
        }
        word
    }

    fn items(&mut self, end: char, depth: usize) -> Result<Vec<Literal>, LiteralError> {
        self.bump();
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            if self.peek() == Some(end) {
                self.bump();
                return Ok(items);
            }
            items.push(self.value(depth + 1)?);
            self.separator(end)?;
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Literal, Literal)>, LiteralError> {
        self.bump();
        let mut entries = Vec::new();
        loop {
            self.skip_blank();
            if self.peek() == Some('}') {
                self.bump();
                return Ok(entries);
            }
            let key = self.value(depth + 1)?;
            self.skip_blank();
            if self.peek() != Some(':') {
                return Err(self.error("expected `:`"));
            }
            self.bump();
            entries.push((key, self.value(depth + 1)?));
            self.separator('}')?;
        }
    }

    /// Skips a comma; the end of the list may follow without one.
    fn separator(&mut self, end: char) -> Result<(), LiteralError> {
        self.skip_blank();
        match self.peek() {
            Some(',') => {
                self.bump();
                Ok(())
            }
            Some(c) if c == end => Ok(()),
            // Python would join two strings without a comma between them.
            _ => Err(self.error(format!("expected `,` or `{end}`"))),
        }
    }

    fn string(&mut self, raw: bool) -> Result<String, LiteralError> {
        let Some((_, quote)) = self.bump() else {
            return Err(self.error("unexpected end of the text"));
        };
        let mut text = String::new();
        loop {
            match self.bump() {
                Some((_, c)) if c == quote => return Ok(text),
                Some((_, '\n')) | None => return Err(self.error("missing closing quote")),
                Some((_, '\\')) if !raw => self.escape(&mut text)?,
                Some((_, c)) => text.push(c),
            }
        }
    }

    /// Reads the characters after a backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), LiteralError> {
        match self.bump().map(|(_, c)| c) {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('x') => {
                let code = self.hex(2)?;
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some('U') => {
                let code = self.hex(8)?;
                let c = char::from_u32(code);
                text.push(c.ok_or_else(|| self.error("invalid escape"))?);
            }
            Some('u') => {
                let mut units = vec![self.hex(4)? as u16];
                if (0xd800..0xdc00).contains(&units[0]) {
                    for expected in ['\\', 'u'] {
                        if self.bump().map(|(_, c)| c) != Some(expected) {
                            return Err(self.error("lone surrogate in an escape"));
                        }
                    }
                    units.push(self.hex(4)? as u16);
                }
                let decoded = String::from_utf16(&units)
                    .map_err(|_| self.error("lone surrogate in an escape"))?;
                text.push_str(&decoded);
            }
            Some(c @ ('"' | '\'' | '\\' | '/')) => text.push(c),
            _ => return Err(self.error("invalid escape")),
        }
        Ok(())
    }

    fn hex(&mut self, digits: usize) -> Result<u32, LiteralError> {
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.bump().and_then(|(_, c)| c.to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.error("invalid escape"))?;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        match Literal::parse(text).unwrap().value {
            Value::List(items) => items
                .iter()
                .map(|item| item.as_text().unwrap().to_owned())
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_json_and_python() {
        assert_eq!(texts(r#"["a", "b\u00e9\"\ud83d\ude00"]"#), ["a", "bé\"😀"]);
        assert_eq!(
            texts("templates = [ # all\n 'it\\'s {c}',\n f\"b\", r'\\d',\n]\n"),
            ["it's {c}", "b", "\\d"]
        );
        let Value::Dict(entries) = Literal::parse("{0: 'a', \"0\": ('b', -1.5e3, None)}")
            .unwrap()
            .value
        else {
            panic!("no dictionary");
        };
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].0.as_index(), entries[1].0.as_index()),
            (Some(0), Some(0))
        );
        assert_eq!(entries[1].1.to_string(), "a list of 3");
    }

    #[test]
    fn reads_assignments_with_annotations_and_tuples() {
        for text in [
            "NAMES: list[str] = ['a', 'b']",
            "names: Final[List[str]] = [\n  'a',\n  'b',\n]\n",
            "# all\nMeta.NAMES = ('a', 'b',)  # two",
            "x: \"tuple[str, ...]\" = ('a', 'b');",
            "('a', 'b')",
            "['a', 'b'];;\n# end\n",
        ] {
            assert!(Literal::is_start_of(text), "{text:?}");
            assert_eq!(texts(text), ["a", "b"], "{text:?}");
        }
        for text in ["(blank)", "('tis) the season", "a: b", "a = b", "(1)"] {
            assert!(!Literal::is_start_of(text), "{text:?}");
        }
    }

    #[test]
    fn errors_have_line_and_column() {
        let error = |text: &str| Literal::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("['a'\n 'b']"),
            "expected `,` or `]` at line 2, column 2"
        );
        assert_eq!(error("[a]"), "`a` is not in quotes at line 1, column 3");
        assert!(error("['a").contains("missing closing quote"));
        assert!(error("['a'] x").contains("expected the end"));
        assert_eq!(
            error("['a'];\nmore = ['b'];"),
            "expected the end of the text at line 2, column 1"
        );
        assert!(error("").contains("unexpected end"));
        assert!(error(&"[".repeat(100)).contains("too deeply nested"));
        assert!(error(r#"["\ud800"]"#).contains("surrogate"));
    }
}
