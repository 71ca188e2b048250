//! Class names in lists and dictionaries of JSON or Python.

use super::ordering::{NUMBER_COLUMNS, NumberColumn, sort_by_column, sort_by_number};
use super::{ClassListForm, Entries, Entry, Unclear, is_synset_id, spaced};
use crate::prompts::literal::{Literal, Value};

/// Keys of a class name in an object, in order of preference.
const NAME_KEYS: [&str; 6] = [
    "name",
    "class_name",
    "classname",
    "class",
    "category",
    "label",
];

/// Keys of a list of class names in an object.
pub(super) const LIST_KEYS: [&str; 6] = [
    "names",
    "id2label",
    "classes",
    "class_names",
    "classnames",
    "categories",
];

type Parsed = Result<Entries, Unclear>;

/// Reads the names in a list or a dictionary.
pub(super) fn entries(literal: Literal) -> Parsed {
    match literal.value {
        Value::List(items) => list(&items),
        Value::Dict(pairs) => dictionary(&pairs),
        _ => Err(format!("{literal} instead of a list of names")),
    }
}

/// Reads JSON Lines: an object with a name per line. `None` if the text is none.
pub(super) fn json_lines(text: &str) -> Option<Parsed> {
    let parse = |(index, line): (usize, &str)| {
        let literal = Literal::parse(line).ok()?;
        let line = index + 1;
        matches!(literal.value, Value::Dict(_)).then_some(Literal { line, ..literal })
    };
    let lines = text.lines().enumerate();
    let items: Vec<Literal> = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(parse)
        .collect::<Option<_>>()?;
    Some(records(&items))
}

fn list(items: &[Literal]) -> Parsed {
    let many_lines = has_many_lines(items);
    let is_dict = |item: &Literal| matches!(item.value, Value::Dict(_));
    if !items.is_empty() && items.iter().all(is_dict) {
        return records(items);
    }
    let entry = |(index, item): (usize, &Literal)| {
        let location = location(index, item, many_lines);
        match &item.value {
            Value::Text(name) => Ok(Entry {
                name: name.clone(),
                location,
                ..Entry::default()
            }),
            Value::List(pair) => match texts(pair).as_deref() {
                Some([id, name]) if is_synset_id(id) => Ok(Entry {
                    name: spaced(name),
                    location,
                    synset_id: Some((*id).to_owned()),
                    number: None,
                }),
                _ => Err(format!("{item} in place of a name, at {location}")),
            },
            _ => Err(format!("{item} in place of a name, at {location}")),
        }
    };
    let entries = items
        .iter()
        .enumerate()
        .map(entry)
        .collect::<Result<_, _>>()?;
    Ok(Entries::new(ClassListForm::List, entries))
}

fn dictionary(pairs: &[(Literal, Literal)]) -> Parsed {
    let all_keys = |is: &dyn Fn(&Literal) -> bool| pairs.iter().all(|(key, _)| is(key));
    let all_values = |is: &dyn Fn(&Literal) -> bool| pairs.iter().all(|(_, value)| is(value));
    let is_text = |literal: &Literal| literal.as_text().is_some();
    let is_id = |literal: &Literal| literal.as_text().is_some_and(is_synset_id);
    if pairs.is_empty() {
        return Ok(Entries::new(ClassListForm::Numbers, Vec::new()));
    }
    if all_keys(&|key| key.as_index().is_some()) {
        return numbered(pairs);
    }
    if all_keys(&is_text) && all_values(&|value| value.as_index().is_some()) {
        let entries = with_locations(pairs, |key, value| Entry {
            name: key.as_text().unwrap_or_default().to_owned(),
            number: value.as_index(),
            ..Entry::default()
        });
        return sort_by_number(Entries::new(ClassListForm::Indices, entries));
    }
    if all_keys(&is_id) && all_values(&is_text) {
        let entries = with_locations(pairs, |key, value| Entry {
            name: spaced(value.as_text().unwrap_or_default()),
            synset_id: key.as_text().map(str::to_owned),
            ..Entry::default()
        });
        return Ok(Entries::new(ClassListForm::Identifiers, entries));
    }
    let nested = pairs.iter().filter(|(key, _)| {
        key.as_text()
            .is_some_and(|key| LIST_KEYS.contains(&key.to_lowercase().as_str()))
    });
    if let [(_, value)] = nested.collect::<Vec<_>>()[..] {
        match &value.value {
            Value::List(items) => return list(items),
            Value::Dict(pairs) => return dictionary(pairs),
            _ => {}
        }
    }
    let (key, value) = &pairs[0];
    let key = key
        .as_text()
        .map_or_else(|| key.to_string(), |key| format!("`{key}`"));
    if all_keys(&is_text) && all_values(&|value| matches!(value.value, Value::List(_))) {
        return Err(format!(
            "a dictionary from {key} and others to lists, which has the form of prompts per class"
        ));
    }
    Err(format!(
        "a dictionary whose keys, such as {key} for {value}, are neither numbers nor synset ids"
    ))
}

/// Reads a dictionary from numbers to names, or to synset ids with names.
fn numbered(pairs: &[(Literal, Literal)]) -> Parsed {
    let mut with_id = 0;
    let mut entries = Vec::new();
    let many_lines =
        pairs.first().map(|(key, _)| key.line) != pairs.last().map(|(key, _)| key.line);
    for (index, (key, value)) in pairs.iter().enumerate() {
        let number = key.as_index();
        let shown = number.unwrap_or_default();
        let location = location(index, key, many_lines);
        let (name, synset_id) = match &value.value {
            Value::Text(name) => (name.clone(), None),
            Value::List(items) => match texts(items).as_deref() {
                Some([id, name]) if is_synset_id(id) => {
                    with_id += 1;
                    (spaced(name), Some((*id).to_owned()))
                }
                Some([name]) => ((*name).to_owned(), None),
                _ => {
                    return Err(format!(
                        "{value} for number {shown}, which is neither a name nor a synset id with a name"
                    ));
                }
            },
            _ => return Err(format!("{value} in place of a name for number {shown}")),
        };
        entries.push(Entry {
            name,
            location,
            synset_id,
            number,
        });
    }
    let form = if with_id == pairs.len() {
        ClassListForm::ClassIndex
    } else {
        ClassListForm::Numbers
    };
    sort_by_number(Entries::new(form, entries))
}

/// Value of a key of an object, ignoring case.
fn value_of<'a>(item: &'a Literal, wanted: &str) -> Option<&'a Literal> {
    let Value::Dict(pairs) = &item.value else {
        return None;
    };
    let has_key = |(key, _): &&(Literal, Literal)| {
        key.as_text()
            .is_some_and(|key| key.eq_ignore_ascii_case(wanted))
    };
    pairs.iter().find(has_key).map(|(_, value)| value)
}

/// Reads objects with a key for the name.
fn records(items: &[Literal]) -> Parsed {
    let field = |item: &Literal, wanted: &str| {
        value_of(item, wanted).and_then(|value| value.as_text().map(str::to_owned))
    };
    let many_lines = has_many_lines(items);
    let complete = |key: &&&str| items.iter().all(|item| field(item, key).is_some());
    let Some(key) = NAME_KEYS.iter().find(complete) else {
        return Err(format!(
            "objects without a common key for the name, such as `{}`",
            NAME_KEYS[0]
        ));
    };
    let entry = |(index, item): (usize, &Literal)| Entry {
        name: field(item, key).unwrap_or_default(),
        location: location(index, item, many_lines),
        synset_id: ["wnid", "synset", "synset_id"]
            .iter()
            .find_map(|key| field(item, key).filter(|id| is_synset_id(id))),
        number: None,
    };
    let entries = items.iter().enumerate().map(entry).collect();
    let numbers: Vec<NumberColumn> = NUMBER_COLUMNS
        .iter()
        .filter(|header| *header != key)
        .map(|header| NumberColumn {
            header: (*header).to_owned(),
            numbers: items
                .iter()
                .map(|item| value_of(item, header).and_then(Literal::as_index))
                .collect(),
        })
        .collect();
    let key = (*key).to_owned();
    sort_by_column(
        Entries::new(ClassListForm::Records { key }, entries),
        &numbers,
    )
}

fn with_locations(
    pairs: &[(Literal, Literal)],
    entry: impl Fn(&Literal, &Literal) -> Entry,
) -> Vec<Entry> {
    let many_lines =
        pairs.first().map(|(key, _)| key.line) != pairs.last().map(|(key, _)| key.line);
    let located = |(index, (key, value)): (usize, &(Literal, Literal))| Entry {
        location: location(index, key, many_lines),
        ..entry(key, value)
    };
    pairs.iter().enumerate().map(located).collect()
}

fn texts(items: &[Literal]) -> Option<Vec<&str>> {
    items.iter().map(Literal::as_text).collect()
}

fn has_many_lines(items: &[Literal]) -> bool {
    items.first().map(|item| item.line) != items.last().map(|item| item.line)
}

/// Location of an item: its line if the items are on several lines, else its position.
fn location(index: usize, item: &Literal, many_lines: bool) -> String {
    if many_lines {
        format!("line {}", item.line)
    } else {
        format!("name {}", index + 1)
    }
}
