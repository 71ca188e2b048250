//! Class names in lines of text.

use std::sync::LazyLock;

use regex::Regex;

use super::ordering::{are_consecutive, sort_by_number};
use super::{
    ClassListForm, Entries, Entry, Unclear, is_synset_id, line_list, numbers, shortened, spaced,
    table, unclosed_quote, yaml,
};
use crate::prompts::PromptError;
use crate::prompts::fields::{Field, split_fields};

/// A line with text, trimmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) text: &'a str,
    /// Line number, from 1.
    pub(super) line: usize,
}

impl Row<'_> {
    pub(super) fn location(&self) -> String {
        format!("line {}", self.line)
    }

    pub(super) fn entry(&self, name: impl Into<String>) -> Entry {
        Entry {
            name: name.into(),
            location: self.location(),
            ..Entry::default()
        }
    }
}

/// Result of a form: `None` if the lines do not have it.
pub(super) type Attempt = Option<Result<Entries, Unclear>>;

/// Reads names from lines in the first form that they have.
pub(super) fn entries(text: &str, origin: &str, extension: &str) -> Result<Entries, PromptError> {
    let (rows, comments) = rows(text, origin)?;
    let unclear = |seen: Unclear| PromptError::UnclearNames {
        origin: origin.to_owned(),
        seen,
    };
    if let Some(kind) = foreign(text) {
        return Err(unclear(format!("the text of {kind}")));
    }
    if let Some(row) = rows.iter().find(|row| CODE.is_match(row.text)) {
        return Err(unclear(format!(
            "line {} is an assignment in code: {:?}",
            row.line,
            shortened(row.text)
        )));
    }
    let attempts: [&dyn Fn() -> Attempt; 9] = [
        &|| table::entries(&rows, extension),
        &|| unclosed(&rows),
        &|| synsets(&rows),
        &|| paths(&rows),
        &|| numbers::numbered(&rows),
        &|| numbers::indexed(&rows),
        &|| yaml(&rows),
        &|| separated(&rows),
        &|| columns_without_header(&rows, extension),
    ];
    let found = attempts.iter().find_map(|attempt| attempt());
    let read = found.unwrap_or_else(|| plain(&rows)).map_err(unclear)?;
    Ok(Entries { comments, ..read })
}

/// Splits a text into rows without comments; returns them with the number of comment lines.
fn rows<'a>(text: &'a str, origin: &str) -> Result<(Vec<Row<'a>>, usize), PromptError> {
    let mut rows = Vec::new();
    let mut comments = 0;
    for (index, line) in text.trim_end().lines().enumerate() {
        let row = Row {
            text: line.trim(),
            line: index + 1,
        };
        if row.text.starts_with('#') {
            comments += 1;
        } else if !row.text.is_empty() {
            rows.push(row);
        } else if !rows.is_empty() || comments == 0 {
            return Err(PromptError::EmptyName {
                origin: origin.to_owned(),
                location: row.location(),
            });
        }
    }
    Ok((rows, comments))
}

/// Assignment of a list, a string or a call to a variable.
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^[A-Za-z_$][^"',;]*=\s*(?:[\w.]*[\[({]|["'])"#).expect("a constant that compiles")
});

/// Kind of a text that is no list of names.
fn foreign(text: &str) -> Option<&'static str> {
    let start = text
        .trim_start()
        .get(..64)
        .unwrap_or(text)
        .to_ascii_lowercase();
    if start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<?xml") {
        Some("a web page or XML")
    } else if start.starts_with("version https://git-lfs") {
        Some("a pointer of Git LFS, whose file was not downloaded")
    } else {
        None
    }
}

/// Applies `entry` to all rows. `None` if it fits no row, an error if it fits only some.
fn all_or_none(
    rows: &[Row<'_>],
    what: &str,
    entry: impl Fn(&Row<'_>) -> Option<Entry>,
) -> Option<Result<Vec<Entry>, Unclear>> {
    let entries: Vec<Option<Entry>> = rows.iter().map(entry).collect();
    let without: Vec<usize> = rows
        .iter()
        .zip(&entries)
        .filter(|(_, entry)| entry.is_none())
        .map(|(row, _)| row.line)
        .collect();
    if without.len() == rows.len() {
        return None;
    }
    if without.is_empty() {
        return Some(Ok(entries.into_iter().flatten().collect()));
    }
    let fits: Vec<usize> = rows
        .iter()
        .zip(&entries)
        .filter(|(_, entry)| entry.is_some())
        .map(|(row, _)| row.line)
        .collect();
    Some(Err(format!(
        "{} {what}, but {} not",
        line_list(&fits),
        line_list(&without)
    )))
}

/// A quotation mark that is not closed, which would cut a name at its comma.
fn unclosed(rows: &[Row<'_>]) -> Attempt {
    let has_unclosed = |row: &&Row<'_>| {
        // A number or a bullet may be in front.
        let start = row.text.trim_start_matches(|c: char| {
            c.is_ascii_digit() || c.is_whitespace() || "-.:)".contains(c)
        });
        split_fields(start, ',').iter().any(Field::is_unclosed)
    };
    let row = rows.iter().find(has_unclosed)?;
    Some(Err(unclosed_quote(&row.location())))
}

/// `n01443537 goldfish, Carassius auratus`: the first of several synonyms is the name.
fn synsets(rows: &[Row<'_>]) -> Attempt {
    if rows.iter().all(|row| is_synset_id(row.text)) {
        let seen = "synset ids without names";
        return Some(Err(seen.to_owned())).filter(|_| !rows.is_empty());
    }
    let entry = |row: &Row<'_>| {
        let (id, name) = row.text.split_at_checked(9)?;
        let separated =
            name.starts_with(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | '-'));
        let name =
            name.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | '-'));
        let synonym = split_fields(name, ',').swap_remove(0).text;
        (is_synset_id(id) && separated && !synonym.is_empty()).then(|| Entry {
            synset_id: Some(id.to_owned()),
            ..row.entry(spaced(&synonym))
        })
    };
    let entries = all_or_none(rows, "begin with a synset id", entry)?;
    Some(entries.map(|entries| Entries::new(ClassListForm::Synsets, entries)))
}

/// `/a/airplane_cabin 1`, of Places365 and SUN.
fn paths(rows: &[Row<'_>]) -> Attempt {
    let entry = |row: &Row<'_>| {
        let (path, number) = match row.text.rsplit_once(char::is_whitespace) {
            Some((path, number)) => (path.trim_end(), Some(number.parse().ok()?)),
            None => (row.text, None),
        };
        let mut parts = path.strip_prefix('/')?.split('/');
        let initial = parts.next()?;
        let name = parts.collect::<Vec<_>>().join(" ");
        let is_letter = initial.len() == 1 && initial.bytes().all(|b| b.is_ascii_alphabetic());
        (is_letter && !name.is_empty() && !path.contains(char::is_whitespace)).then(|| Entry {
            number,
            ..row.entry(spaced(&name))
        })
    };
    Some(
        match all_or_none(rows, "are paths such as /a/airfield", entry)? {
            Ok(entries) if are_consecutive(&entries) => {
                sort_by_number(Entries::new(ClassListForm::Paths, entries))
            }
            // Numbers of a subset: the order is that of the lines.
            Ok(entries) => Ok(Entries::new(ClassListForm::Paths, entries)),
            Err(seen) => Err(seen),
        },
    )
}

/// `- pizza`.
fn yaml(rows: &[Row<'_>]) -> Attempt {
    let entry = |row: &Row<'_>| {
        let name = row.text.strip_prefix('-')?;
        (name.is_empty() || name.starts_with(' ')).then(|| row.entry(name))
    };
    let read = |(row, entry): (&Row<'_>, Entry)| {
        let name = yaml::scalar(&entry.name, row.line)?;
        Ok(Entry {
            name: name.as_text().unwrap_or_default().to_owned(),
            ..entry
        })
    };
    let entries = all_or_none(rows, "begin with `- `", entry)?.and_then(|entries| {
        let entries = rows.iter().zip(entries).map(read);
        entries.collect::<Result<Vec<_>, Unclear>>()
    });
    Some(entries.map(|entries| Entries::new(ClassListForm::Yaml, entries)))
}

/// Quoted names, and names with commas between them or at the ends of their lines.
fn separated(rows: &[Row<'_>]) -> Attempt {
    let (last, others) = rows.split_last()?;
    let lines = |is: &dyn Fn(&Row<'_>) -> bool| -> Vec<usize> {
        let found = rows.iter().filter(|row| is(row));
        found.map(|row| row.line).collect()
    };
    let delimiter = if rows.iter().any(|row| row.text.contains(',')) {
        ','
    } else {
        ';'
    };
    let fields = |row: &Row<'_>| split_fields(row.text, delimiter);
    let quoted = lines(&|row| fields(row).iter().all(|field| field.quoted));
    let ended = lines(&|row| row.text.ends_with(delimiter));
    let one_line = others.is_empty() && last.text.contains(delimiter);
    let all_but_last = !others.is_empty() && others.iter().all(|row| row.text.ends_with(delimiter));
    let form = if quoted.len() == rows.len() {
        ClassListForm::Quoted
    } else if one_line || (all_but_last && quoted.is_empty()) {
        ClassListForm::Separated
    } else if quoted.is_empty() && ended.is_empty() {
        return None;
    } else {
        let (some, what) = if quoted.is_empty() {
            (ended, format!("end with `{delimiter}`"))
        } else {
            (quoted, "are quoted".to_owned())
        };
        let (some, list) = (some.len(), line_list(&some));
        return Some(Err(format!(
            "{some} of {} lines {what}: {list}",
            rows.len()
        )));
    };
    let entries = |row: &Row<'_>| -> Vec<Entry> {
        let entry = |(index, field): (usize, Field)| Entry {
            location: if others.is_empty() {
                format!("name {}", index + 1)
            } else {
                row.location()
            },
            ..row.entry(field.text)
        };
        fields(row).into_iter().enumerate().map(entry).collect()
    };
    let entries = rows.iter().flat_map(entries).collect();
    Some(Ok(Entries::new(form, entries)))
}

/// A table without a known header.
fn columns_without_header(rows: &[Row<'_>], extension: &str) -> Attempt {
    let has = |row: &&Row<'_>, delimiter: char| row.text.contains(delimiter);
    let tabs: Vec<usize> = rows
        .iter()
        .filter(|row| has(row, '\t'))
        .map(|row| row.line)
        .collect();
    let first = rows.first()?;
    let is_csv = extension.eq_ignore_ascii_case("csv");
    let delimiter = if tabs.is_empty() { ',' } else { '\t' };
    if tabs.is_empty() && !(is_csv && rows.iter().any(|row| has(&row, ','))) {
        return None;
    }
    let columns = split_fields(first.text, delimiter)
        .into_iter()
        .map(|field| format!("`{}`", field.text));
    Some(Err(format!(
        "a table without a column `name`; its first line is {}",
        columns.collect::<Vec<_>>().join(", ")
    )))
}

/// One name per line.
fn plain(rows: &[Row<'_>]) -> Result<Entries, Unclear> {
    let markup = |row: &&Row<'_>| {
        row.text.starts_with(['{', '[', '<'])
            || row.text.contains("\": ")
            || row.text.ends_with(':')
    };
    if let Some(row) = rows.iter().find(markup) {
        return Err(format!(
            "line {} is no name: {:?}",
            row.line,
            shortened(row.text)
        ));
    }
    let entry = |row: &Row<'_>| {
        // A backslash lets a name begin with the character of comments.
        let name = row
            .text
            .strip_prefix('\\')
            .filter(|rest| rest.starts_with('#'));
        row.entry(name.unwrap_or(row.text))
    };
    Ok(Entries::new(
        ClassListForm::Lines,
        rows.iter().map(entry).collect(),
    ))
}
