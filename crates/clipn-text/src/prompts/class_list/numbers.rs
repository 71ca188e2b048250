//! Numbers in lines: an index in front of a name or behind it, or a part of the name.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::lines::{Attempt, Row};
use super::ordering::{are_complete, sort_by_number};
use super::{ClassListForm, Entries, Entry, Unclear};
use crate::prompts::fields::split_fields;

static LEADING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?<paren>\()?(?<number>\d{1,9})(?<separator>\s*[,:;\t]\s*|[.)]\s*|\s+[-–—]\s+|\s*(?:->|=>|=|\|)\s*|\s+)(?<name>\S.*)$",
    )
    .expect("a constant that compiles")
});

static TRAILING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?<name>.*?\S)(?<separator>\s*[,:;\t]\s*|\s+[-–—]\s+|\s*(?:->|=>|=|\|)\s*|\s+)(?<paren>\()?(?<number>\d{1,9})(?<close>\))?$",
    )
    .expect("a constant that compiles")
});

/// Name with a number in front of it or behind it.
#[derive(Debug)]
struct NumberedName {
    digits: String,
    separator: Separator,
    name: String,
}

/// What separates a number from a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    /// White space, which may also be in a name.
    Space,
    /// Dash, sign, parentheses, or period without a space, as in `1 - pizza`.
    Sign,
    /// Comma, colon, semicolon, tab, or period with a space, as in `1: pizza`.
    Delimiter,
}

impl NumberedName {
    fn leading(text: &str) -> Option<Self> {
        let found = LEADING.captures(text)?;
        let closed = found["separator"].starts_with(')');
        let enclosed = found.name("paren").is_some();
        // `1.5 liters` is a number, and `1.pizza` an index.
        let is_decimal =
            &found["separator"] == "." && found["name"].starts_with(|c: char| c.is_ascii_digit());
        ((closed || !enclosed) && !is_decimal).then(|| Self::new(&found, enclosed))
    }

    fn trailing(text: &str) -> Option<Self> {
        let found = TRAILING.captures(text)?;
        let enclosed = found.name("paren").is_some();
        (enclosed == found.name("close").is_some()).then(|| Self::new(&found, enclosed))
    }

    fn new(found: &Captures<'_>, enclosed: bool) -> Self {
        let text = &found["separator"];
        let separator = if enclosed || matches!(text, "." | ")") {
            Separator::Sign
        } else if text.contains([',', ':', ';', '\t', '.', ')']) {
            Separator::Delimiter
        } else if text.trim().is_empty() {
            Separator::Space
        } else {
            Separator::Sign
        };
        Self {
            digits: found["number"].to_owned(),
            separator,
            name: split_fields(&found["name"], '\n').swap_remove(0).text,
        }
    }

    fn number(&self) -> Option<usize> {
        self.digits.parse().ok()
    }
}

/// Numbers of all names of a list, and whether they may be indices.
struct Numbers<'a> {
    names: &'a [NumberedName],
    values: Vec<Option<usize>>,
}

impl<'a> Numbers<'a> {
    fn new(names: &'a [NumberedName]) -> Self {
        Self {
            names,
            values: names.iter().map(NumberedName::number).collect(),
        }
    }

    /// Reason why the numbers may be part of the names; `None` if they are surely indices.
    fn doubt(&self) -> Option<&'static str> {
        if !are_complete(&self.values) {
            return Some("they are not complete");
        }
        let by_space = |name: &NumberedName| name.separator == Separator::Space;
        if !self.names.iter().all(by_space) {
            return None;
        }
        if !self.names_differ() {
            return Some("the names without them are the same");
        }
        let padded = |name: &NumberedName| name.digits.len() > 1 && name.digits.starts_with('0');
        let is_index =
            self.values.contains(&Some(0)) || self.names.len() > 2 || self.names.iter().any(padded);
        (!is_index).then_some("two numbers from 1 may be counts")
    }

    /// Whether most names differ without their numbers, unlike `digit 0` and `digit 1`, or `1 euro`
    /// and `2 euros`. A list with indices may have a few duplicates, as ImageNet has.
    fn names_differ(&self) -> bool {
        let key = |name: &NumberedName| name.name.to_lowercase().trim_end_matches('s').to_owned();
        let different: HashSet<String> = self.names.iter().map(key).collect();
        2 * different.len() > self.names.len()
    }

    /// Whether the numbers look like indices of some classes: each once, from 0 or 1.
    fn look_like_indices(&self) -> bool {
        let different: HashSet<Option<usize>> = self.values.iter().copied().collect();
        different.len() == self.values.len()
            && (different.contains(&Some(0)) || different.contains(&Some(1)))
    }
}

/// `0: school bus`, `1,goldfish`, `2. pizza`, and `0 school bus` if the numbers are surely indices.
pub(super) fn numbered(rows: &[Row<'_>]) -> Attempt {
    let names = all(rows.iter().map(|row| row.text), NumberedName::leading)?;
    let delimited = names
        .iter()
        .any(|name| name.separator == Separator::Delimiter);
    if !delimited && Numbers::new(&names).doubt().is_some() {
        return None;
    }
    Some(indexed_entries(rows, names, ClassListForm::NumberedLines))
}

/// `school bus 0`, `goldfish,1`. Other numbers at the ends are part of the names, as in `boeing 747`.
pub(super) fn indexed(rows: &[Row<'_>]) -> Attempt {
    let names = all(rows.iter().map(|row| row.text), NumberedName::trailing)?;
    if Numbers::new(&names).doubt().is_some() {
        return None;
    }
    Some(indexed_entries(rows, names, ClassListForm::IndexedLines))
}

fn indexed_entries(
    rows: &[Row<'_>],
    names: Vec<NumberedName>,
    form: ClassListForm,
) -> Result<Entries, Unclear> {
    let entry = |(row, name): (&Row<'_>, NumberedName)| Entry {
        number: name.number(),
        ..row.entry(name.name)
    };
    let entries = rows.iter().zip(names).map(entry).collect();
    sort_by_number(Entries::new(form, entries))
}

/// Splits all of several texts; `None` if a number is missing in one.
fn all<'a>(
    texts: impl ExactSizeIterator<Item = &'a str>,
    split: impl Fn(&str) -> Option<NumberedName>,
) -> Option<Vec<NumberedName>> {
    if texts.len() < 2 {
        return None;
    }
    texts.map(split).collect()
}

/// Describes numbers that are kept as part of the names although they may be indices; `None` if there
/// are none. In `lines`, complete numbers would have been read as indices.
pub(super) fn kept_numbers(names: &[String], lines: bool) -> Option<String> {
    let texts = || names.iter().map(String::as_str);
    let first = texts().next()?;
    let describe = |numbers: &Numbers<'_>| {
        let doubt = numbers.doubt().filter(|_| lines);
        let reason = doubt.map_or_else(String::new, |doubt| format!(", since {doubt}"));
        format!("the numbers are part of the names, such as `{first}`{reason}")
    };
    if let Some(leading) = all(texts(), NumberedName::leading) {
        return Some(describe(&Numbers::new(&leading)));
    }
    if let Some(trailing) = all(texts(), NumberedName::trailing) {
        let numbers = Numbers::new(&trailing);
        // Names that differ in nothing else need their numbers, as in `boeing 707` and `boeing 747`.
        return (numbers.look_like_indices() && numbers.names_differ()).then(|| describe(&numbers));
    }
    some_numbers(names, "begin", NumberedName::leading)
        .or_else(|| some_numbers(names, "end", NumberedName::trailing))
}

/// Describes numbers that at least two names and half of them have at one end.
fn some_numbers(
    names: &[String],
    what: &str,
    split: impl Fn(&str) -> Option<NumberedName>,
) -> Option<String> {
    let (texts, found): (Vec<&String>, Vec<NumberedName>) = names
        .iter()
        .filter_map(|name| Some((name, split(name)?)))
        .unzip();
    let numbers = Numbers::new(&found);
    let many = found.len() > 1 && 2 * found.len() >= names.len();
    (many && numbers.look_like_indices() && numbers.names_differ()).then(|| {
        format!(
            "{} of {} names {what} with numbers that are part of them, such as `{}`",
            found.len(),
            names.len(),
            texts[0]
        )
    })
}
