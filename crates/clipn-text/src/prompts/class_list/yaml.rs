//! Class names in a few forms of YAML: a list or a mapping of one line per name, or in brackets, at
//! the top or under a key such as `names`. Anything else of YAML is refused.

use std::sync::LazyLock;

use regex::Regex;

use super::structured::{self, LIST_KEYS};
use super::{ClassListForm, Entries, Unclear, shortened};
use crate::prompts::literal::{Literal, Value, quoted_prefix};

/// A line with content, without its comment lines and blank lines.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// Line number, from 1.
    number: usize,
    /// Offset of the line in the text.
    offset: usize,
}

impl Line<'_> {
    fn is_indented(&self) -> bool {
        self.text.starts_with([' ', '\t'])
    }

    fn is_item(&self) -> bool {
        let text = self.text.trim_start();
        text == "-" || text.starts_with("- ")
    }

    fn shown(&self) -> String {
        format!("{:?}", shortened(self.text.trim()))
    }
}

/// A key at the top of a document with what follows it.
struct Section<'a> {
    key: String,
    line: usize,
    value: SectionValue<'a>,
}

enum SectionValue<'a> {
    /// Text behind the key.
    Inline(&'a str),
    /// List or mapping in brackets.
    Flow(Literal),
    /// Lines below the key.
    Block(Vec<Line<'a>>),
}

impl SectionValue<'_> {
    fn is_collection(&self) -> bool {
        match self {
            Self::Inline(_) => false,
            Self::Flow(_) => true,
            Self::Block(lines) => !lines.is_empty(),
        }
    }
}

/// Reads a document of YAML. `None` if the text is none, by its content or the extension of its file.
pub(super) fn entries(text: &str, extension: &str) -> Option<Result<Entries, Unclear>> {
    let lines = lines(text);
    let begins = lines.first().is_some_and(|line| line.text == "---");
    if !(has_yaml_extension(extension) || begins || lines.iter().any(is_list_header)) {
        return None;
    }
    let lines = match document(&lines) {
        Ok(lines) => lines,
        Err(error) => return Some(Err(error)),
    };
    let Some(first) = lines.first() else {
        return begins.then(|| Err("a YAML document without names".to_owned()));
    };
    if first.is_item() {
        let list = block(lines).and_then(structured::entries);
        return Some(list.map(|read| Entries {
            form: ClassListForm::Yaml,
            ..read
        }));
    }
    if key_and_rest(first.text).is_some() {
        return Some(mapping(text, lines));
    }
    // One name per line, if the file has nothing of a mapping.
    let other = lines
        .iter()
        .find(|line| line.is_indented() || key_and_rest(line.text).is_some())
        .or(begins.then_some(first))?;
    Some(Err(format!(
        "line {} of a YAML file without a list of names at its top: {}",
        other.number,
        other.shown()
    )))
}

/// Splits a text into lines without blank lines and comment lines.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut offset = 0;
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end();
        if !content.is_empty() && !content.trim_start().starts_with('#') {
            lines.push(Line {
                text: content,
                number: index + 1,
                offset,
            });
        }
        offset += line.len();
    }
    lines
}

/// Lines of the only document: those after `---`, up to `...`.
fn document<'a, 'b>(lines: &'b [Line<'a>]) -> Result<&'b [Line<'a>], Unclear> {
    let directives = lines
        .iter()
        .take_while(|line| line.text.starts_with('%'))
        .count();
    let lines = &lines[directives..];
    let lines = match lines.split_first() {
        Some((first, rest)) if first.text == "---" => rest,
        _ => lines,
    };
    let end = lines.iter().position(|line| line.text == "...");
    let (lines, rest) = lines.split_at(end.unwrap_or(lines.len()));
    let second = lines
        .iter()
        .find(|line| line.text == "---")
        .or_else(|| rest.get(1));
    match second {
        Some(line) => Err(format!("a second YAML document in line {}", line.number)),
        None => Ok(lines),
    }
}

/// Whether a line is the key of a list of names, with the list in brackets or below it.
fn is_list_header(line: &Line<'_>) -> bool {
    let Some((key, rest)) = key_and_rest(line.text).filter(|_| !line.is_indented()) else {
        return false;
    };
    is_list_key(&key) && (rest.is_empty() || rest.starts_with(['[', '{', '&', '*', '!', '|', '>']))
}

fn is_list_key(key: &str) -> bool {
    LIST_KEYS.contains(&key.to_lowercase().as_str())
}

/// Splits `key: rest` in a line of YAML, the comment removed from an empty rest; `None` for any other
/// line.
fn key_and_rest(line: &str) -> Option<(String, &str)> {
    static KEY: LazyLock<Regex> = LazyLock::new(|| {
        // The shortest key: the rest may have a colon itself.
        Regex::new(
            r#"^\s*(?:"([^"\\]*)"|'([^']*)'|([^\s"'\[\]{}#&*!|>%@`,?:-][^#]*?))\s*:(?:\s+(.*))?$"#,
        )
        .expect("a constant that compiles")
    });
    let has_colon = Some(line).filter(|line| line.contains(':'));
    let found = KEY.captures(has_colon?)?;
    let key = found.get(1).or(found.get(2)).or(found.get(3))?.as_str();
    let rest = found.get(4).map_or("", |rest| rest.as_str());
    let rest = if rest.starts_with('#') { "" } else { rest };
    Some((key.to_owned(), rest))
}

/// Reads a mapping at the top of a document: one with a list of names under a key, or one of names.
fn mapping(text: &str, lines: &[Line<'_>]) -> Result<Entries, Unclear> {
    let sections = sections(text, lines)?;
    let lists: Vec<&Section<'_>> = sections
        .iter()
        .filter(|section| is_list_key(&section.key))
        .collect();
    let collections: Vec<&&Section<'_>> = lists
        .iter()
        .filter(|section| section.value.is_collection())
        .collect();
    match (&collections[..], &lists[..]) {
        ([section], _) => {
            let literal = match &section.value {
                SectionValue::Block(lines) => block(lines)?,
                SectionValue::Flow(literal) => literal.clone(),
                SectionValue::Inline(_) => return Err(not_a_list(section)),
            };
            let read = structured::entries(literal)?;
            Ok(Entries {
                form: ClassListForm::YamlKey {
                    key: section.key.clone(),
                },
                ..read
            })
        }
        ([first, second, ..], _) => Err(format!(
            "lists of names under two keys of YAML, `{}` in line {} and `{}` in line {}",
            first.key, first.line, second.key, second.line
        )),
        ([], [section, ..]) => Err(not_a_list(section)),
        ([], []) => {
            if sections.iter().any(|section| section.value.is_collection()) {
                let keys: Vec<String> = sections
                    .iter()
                    .take(4)
                    .map(|section| format!("`{}`", section.key))
                    .collect();
                return Err(format!(
                    "a YAML mapping without a key `names` or `classes`; its keys are {}",
                    keys.join(", ")
                ));
            }
            structured::entries(block(lines)?)
        }
    }
}

fn not_a_list(section: &Section<'_>) -> Unclear {
    let found = match &section.value {
        SectionValue::Inline(text) => format!("{:?}", shortened(text)),
        _ => "nothing".to_owned(),
    };
    format!(
        "{found} in place of a list under the key `{}` of YAML, in line {}",
        section.key, section.line
    )
}

/// Splits a mapping into its keys at the top.
fn sections<'a>(text: &'a str, lines: &[Line<'a>]) -> Result<Vec<Section<'a>>, Unclear> {
    let mut sections = Vec::new();
    let mut rest = lines;
    while let Some((line, below)) = rest.split_first() {
        let Some((key, value)) = key_and_rest(line.text).filter(|_| !line.is_indented()) else {
            return Err(format!(
                "line {} of YAML has no key: {}",
                line.number,
                line.shown()
            ));
        };
        let value = if value.starts_with(['[', '{']) {
            let start = line.offset + line.text.len() - value.len();
            let (literal, end) = Flow::parse(text, start, line.number)?;
            let after = below.iter().take_while(|line| line.offset < end).count();
            rest = &below[after..];
            SectionValue::Flow(literal)
        } else {
            let of_section = |line: &&Line<'_>| line.is_indented() || line.is_item();
            let count = below.iter().take_while(of_section).count();
            let (block, after) = below.split_at(count);
            rest = after;
            if value.is_empty() {
                SectionValue::Block(block.to_vec())
            } else {
                SectionValue::Inline(value)
            }
        };
        sections.push(Section {
            key,
            line: line.number,
            value,
        });
    }
    Ok(sections)
}

/// Reads a list or a mapping with one line per name.
fn block(lines: &[Line<'_>]) -> Result<Literal, Unclear> {
    let indent = |line: &Line<'_>| line.text.len() - line.text.trim_start().len();
    let first = lines.first().ok_or("a YAML document without names")?;
    let mut items = Vec::new();
    let mut pairs = Vec::new();
    for line in lines {
        if line.text[..indent(line)].contains('\t') {
            return Err(format!("a tab in the indentation of line {}", line.number));
        }
        if indent(line) != indent(first) {
            return Err(format!(
                "line {} of YAML is not indented like line {}: {}",
                line.number,
                first.number,
                line.shown()
            ));
        }
        let text = line.text.trim_start();
        match (first.is_item(), line.is_item(), key_and_rest(text)) {
            (true, true, _) => items.push(scalar(&text[1..], line.number)?),
            (false, false, Some((key, rest))) => {
                let key = Literal {
                    value: Value::Text(key),
                    line: line.number,
                };
                pairs.push((key, scalar(rest, line.number)?));
            }
            _ => {
                return Err(format!(
                    "line {} of YAML is no entry like line {}: {}",
                    line.number,
                    first.number,
                    line.shown()
                ));
            }
        }
    }
    Ok(Literal {
        value: if first.is_item() {
            Value::List(items)
        } else {
            Value::Dict(pairs)
        },
        line: first.number,
    })
}

/// Reads a string, quoted or plain, up to the end of its line or the comment there.
pub(super) fn scalar(text: &str, line: usize) -> Result<Literal, Unclear> {
    let text = text.trim();
    if !text.starts_with(['"', '\'']) {
        let end = comment_start(text).unwrap_or(text.len());
        return plain(&text[..end], line);
    }
    let (name, after) = quoted(text, line)?;
    if !after.is_empty() && comment_start(after).is_none_or(|start| start > 0) {
        return Err(format!(
            "line {line} of YAML has text after a quoted string: {:?}",
            shortened(text)
        ));
    }
    Ok(Literal {
        value: Value::Text(name),
        line,
    })
}

/// Offset of the white space before a comment.
fn comment_start(text: &str) -> Option<usize> {
    let mut content_end = 0;
    let mut after_space = true;
    for (index, c) in text.char_indices() {
        if c == '#' && after_space {
            return Some(content_end);
        }
        after_space = c.is_whitespace();
        if !after_space {
            content_end = index + c.len_utf8();
        }
    }
    None
}

/// Reads the quoted string at the start of a text; returns it with what follows.
fn quoted(text: &str, line: usize) -> Result<(String, &str), Unclear> {
    let Some(single) = text.strip_prefix('\'') else {
        return quoted_prefix(text).map_err(|problem| format!("{problem} in line {line} of YAML"));
    };
    let mut name = String::new();
    let mut rest = single;
    loop {
        let Some((part, after)) = rest
            .split_once('\'')
            .filter(|(part, _)| !part.contains('\n'))
        else {
            return Err(format!("missing closing quote in line {line} of YAML"));
        };
        name.push_str(part);
        // A doubled quotation mark is a literal one.
        match after.strip_prefix('\'') {
            Some(after) => {
                name.push('\'');
                rest = after;
            }
            None => return Ok((name, after)),
        }
    }
}

/// Checks a string without quotes; an empty one is an empty name.
fn plain(text: &str, line: usize) -> Result<Literal, Unclear> {
    let text = text.trim();
    let refused = |what: &str| {
        Err(format!(
            "line {line} of YAML has {what} in place of a name: {:?}",
            shortened(text)
        ))
    };
    if matches!(text, "~" | "null" | "Null" | "NULL") {
        return refused("a null");
    }
    if text.contains(": ") || text.ends_with(':') {
        return refused("a mapping");
    }
    if text.starts_with("- ") || text.starts_with(['[', '{']) {
        return refused("a list or mapping");
    }
    if text.starts_with([
        '#', '&', '*', '!', '|', '>', '%', '@', '`', ']', '}', ',', '"', '\'',
    ]) || text.starts_with("? ")
    {
        return refused("a mark of YAML");
    }
    Ok(Literal {
        value: Value::Text(text.to_owned()),
        line,
    })
}

/// Reads a document that is a list or mapping in brackets, for files of YAML.
pub(super) fn flow(text: &str, extension: &str) -> Option<Result<Entries, Unclear>> {
    let lines = lines(text);
    let first = lines.first().filter(|line| {
        has_yaml_extension(extension) && line.text.trim_start().starts_with(['[', '{'])
    })?;
    let start = first.offset + first.text.len() - first.text.trim_start().len();
    let read = Flow::parse(text, start, first.number).and_then(|(literal, end)| {
        match lines.iter().find(|line| line.offset >= end) {
            Some(line) => Err(format!(
                "line {} follows a list in brackets: {}",
                line.number,
                line.shown()
            )),
            None => structured::entries(literal),
        }
    });
    Some(read.map(|read| match read.form {
        ClassListForm::List => Entries {
            form: ClassListForm::Yaml,
            ..read
        },
        _ => read,
    }))
}

fn has_yaml_extension(extension: &str) -> bool {
    ["yaml", "yml"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reader of a list or mapping in brackets, whose strings need no quotes.
struct Flow<'a> {
    text: &'a str,
    position: usize,
    /// Line of the position, from 1.
    line: usize,
}

impl<'a> Flow<'a> {
    /// Reads the collection at an offset; returns it with the offset of the end of its last line.
    fn parse(text: &'a str, position: usize, line: usize) -> Result<(Literal, usize), Unclear> {
        let mut flow = Self {
            text,
            position,
            line,
        };
        let literal = flow.collection()?;
        let rest = flow.rest().split('\n').next().unwrap_or_default();
        if !rest.trim().is_empty() && comment_start(rest) != Some(0) {
            return Err(format!(
                "text after the brackets in line {}: {:?}",
                flow.line,
                shortened(rest.trim())
            ));
        }
        Ok((literal, flow.position + rest.len()))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.position += bytes;
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            let before = self.text[..self.position + blank].chars().next_back();
            let is_comment = rest[blank..].starts_with('#')
                && before.is_none_or(|before| before.is_whitespace());
            let comment = if is_comment {
                rest[blank..].find('\n').unwrap_or(rest.len() - blank)
            } else {
                0
            };
            self.advance(blank + comment);
            if comment == 0 {
                return;
            }
        }
    }

    fn collection(&mut self) -> Result<Literal, Unclear> {
        let line = self.line;
        let is_list = self.peek() == Some('[');
        let close = if is_list { ']' } else { '}' };
        self.advance(1);
        let mut items = Vec::new();
        let mut pairs = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                Some(c) if c == close => {
                    self.advance(1);
                    let value = if is_list {
                        Value::List(items)
                    } else {
                        Value::Dict(pairs)
                    };
                    return Ok(Literal { value, line });
                }
                None => return Err(format!("missing `{close}` of the list in line {line}")),
                Some(_) if is_list => items.push(self.scalar()?),
                Some(_) => {
                    let key = self.scalar()?;
                    self.skip_blank();
                    if self.peek() != Some(':') {
                        return Err(format!("expected `:` in line {}", self.line));
                    }
                    self.advance(1);
                    self.skip_blank();
                    pairs.push((key, self.scalar()?));
                }
            }
            self.skip_blank();
            match self.peek() {
                Some(',') => self.advance(1),
                Some(c) if c == close => {}
                None => {}
                Some(_) => {
                    return Err(format!(
                        "expected `,` or `{close}` in line {}: {:?}",
                        self.line,
                        shortened(self.rest().lines().next().unwrap_or_default())
                    ));
                }
            }
        }
    }

    /// Reads a string, quoted or plain, up to what follows it in a collection.
    fn scalar(&mut self) -> Result<Literal, Unclear> {
        let (line, rest) = (self.line, self.rest());
        if rest.starts_with(['"', '\'']) {
            let (name, after) = quoted(rest, line)?;
            self.advance(rest.len() - after.len());
            return Ok(Literal {
                value: Value::Text(name),
                line,
            });
        }
        if rest.starts_with(['[', '{']) {
            return plain(rest.lines().next().unwrap_or_default(), line);
        }
        let is_end = |(index, c): (usize, char)| match c {
            ',' | '[' | ']' | '{' | '}' | '\n' => true,
            // A colon inside a word is part of it.
            ':' => rest[index + 1..]
                .chars()
                .next()
                .is_none_or(|next| next.is_whitespace() || ",[]{}".contains(next)),
            '#' => rest[..index].ends_with(char::is_whitespace),
            _ => false,
        };
        let end = rest
            .char_indices()
            .find(|&found| is_end(found))
            .map_or(rest.len(), |(index, _)| index);
        let literal = plain(&rest[..end], line)?;
        self.advance(end);
        Ok(literal)
    }
}
