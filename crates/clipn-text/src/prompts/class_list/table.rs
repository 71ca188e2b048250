//! Class names in a column of a table.

use super::lines::Row;
use super::{ClassListForm, Entries, Entry, Unclear, is_synset_id, unclosed_quote};
use crate::prompts::fields::{Field, split_fields};

/// Headers of a column of class names, in order of preference.
const NAME_COLUMNS: [&str; 9] = [
    "name",
    "class_name",
    "class name",
    "classname",
    "class-name",
    "class",
    "category",
    "category_name",
    "label_name",
];

/// Headers of a column of synset ids.
const ID_COLUMNS: [&str; 4] = ["wnid", "synset", "synset_id", "wordnet_id"];

/// Reads a table whose header line names a column of class names; `None` if there is no such header.
pub(super) fn entries(rows: &[Row<'_>], extension: &str) -> Option<Result<Entries, Unclear>> {
    let (header, rows) = rows.split_first()?;
    let is_table = ["csv", "tsv"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known));
    let delimiter = ['\t', ',', ';']
        .into_iter()
        .find(|&d| header.text.contains(d));
    let columns: Vec<String> = match delimiter {
        Some(delimiter) => split_fields(header.text, delimiter)
            .into_iter()
            .map(|field| field.text)
            .collect(),
        // A single column, whose header could be a class elsewhere.
        None if is_table => vec![split_fields(header.text, ',').swap_remove(0).text],
        None => return None,
    };
    let position = |known: &[&str]| {
        known.iter().find_map(|known| {
            let is = |column: &String| column.eq_ignore_ascii_case(known);
            columns.iter().position(is)
        })
    };
    let name = position(&NAME_COLUMNS).filter(|_| !rows.is_empty())?;
    let id = position(&ID_COLUMNS);
    let delimiter = delimiter.unwrap_or(',');
    let entry = |row: &Row<'_>| {
        let fields = split_fields(row.text, delimiter);
        if fields.iter().any(Field::is_unclosed) {
            return Err(unclosed_quote(&row.location()));
        }
        // Without quotes, the only column may have commas, as in `Paris, Texas`.
        let whole = columns.len() == 1 && !fields.iter().any(|field| field.quoted);
        if !whole && fields.len() > columns.len() {
            return Err(format!(
                "line {} has {} fields, and the header of the table {}",
                row.line,
                fields.len(),
                columns.len()
            ));
        }
        let field = |column: usize| fields.get(column).map(|field| field.text.clone());
        Ok(Entry {
            name: if whole {
                row.text.to_owned()
            } else {
                field(name).unwrap_or_default()
            },
            location: row.location(),
            synset_id: id.and_then(field).filter(|id| is_synset_id(id)),
            number: None,
        })
    };
    let form = ClassListForm::Table {
        column: columns[name].clone(),
    };
    let entries: Result<Vec<Entry>, Unclear> = rows.iter().map(entry).collect();
    Some(entries.map(|entries| Entries::new(form, entries)))
}
