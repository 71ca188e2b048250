//! Class names in a column of a table.

use super::lines::Row;
use super::ordering::{NUMBER_COLUMNS, NumberColumn, sort_by_column};
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

/// Table with its header line and the fields of its other lines.
struct Table<'a> {
    columns: Vec<String>,
    rows: &'a [Row<'a>],
    /// Fields of each row.
    fields: Vec<Vec<Field>>,
}

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
    if rows.is_empty() || positions(&columns, &NAME_COLUMNS).is_empty() {
        return None;
    }
    let delimiter = delimiter.unwrap_or(',');
    let table = Table {
        columns,
        rows,
        fields: rows
            .iter()
            .map(|row| split_fields(row.text, delimiter))
            .collect(),
    };
    Some(table.entries())
}

/// Positions of the columns with known headers, in the order of these.
fn positions(columns: &[String], known: &[&str]) -> Vec<usize> {
    let position = |known: &&str| {
        columns
            .iter()
            .position(|column| column.eq_ignore_ascii_case(known))
    };
    known.iter().filter_map(position).collect()
}

impl Table<'_> {
    fn entries(&self) -> Result<Entries, Unclear> {
        let name = self.name_column()?;
        let id = positions(&self.columns, &ID_COLUMNS).first().copied();
        let entries: Vec<Entry> = self
            .rows
            .iter()
            .zip(&self.fields)
            .map(|(row, fields)| self.entry(row, fields, name, id))
            .collect::<Result<_, _>>()?;
        let form = ClassListForm::Table {
            column: self.columns[name].clone(),
        };
        let numbers: Vec<NumberColumn> = positions(&self.columns, &NUMBER_COLUMNS)
            .into_iter()
            // The index of pandas is the first column.
            .filter(|&column| column == 0 || !self.columns[column].is_empty())
            .filter(|&column| column != name)
            .map(|column| NumberColumn {
                header: self.columns[column].clone(),
                numbers: self.numbers(column),
            })
            .collect();
        sort_by_column(Entries::new(form, entries), &numbers)
    }

    /// Column with the names. `class` and `category` may be numbers beside it.
    fn name_column(&self) -> Result<usize, Unclear> {
        let is_number_column = |column: usize| {
            let header = &self.columns[column];
            self.columns.len() > 1
                && ["class", "category"]
                    .iter()
                    .any(|known| header.eq_ignore_ascii_case(known))
                && self.numbers(column).iter().all(Option::is_some)
        };
        let known = positions(&self.columns, &NAME_COLUMNS);
        let name = known.iter().find(|&&column| !is_number_column(column));
        name.copied().ok_or_else(|| {
            let headers: Vec<String> = known
                .iter()
                .map(|&column| format!("`{}`", self.columns[column]))
                .collect();
            format!("numbers in the column {} of a table", headers.join(" and "))
        })
    }

    /// Whole numbers in a column.
    fn numbers(&self, column: usize) -> Vec<Option<usize>> {
        let number = |fields: &Vec<Field>| {
            let text = &fields.get(column)?.text;
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        self.fields.iter().map(number).collect()
    }

    fn entry(
        &self,
        row: &Row<'_>,
        fields: &[Field],
        name: usize,
        id: Option<usize>,
    ) -> Result<Entry, Unclear> {
        if fields.iter().any(Field::is_unclosed) {
            return Err(unclosed_quote(&row.location()));
        }
        // Without quotes, the only column may have commas, as in `Paris, Texas`.
        let whole = self.columns.len() == 1 && !fields.iter().any(|field| field.quoted);
        if !whole && fields.len() > self.columns.len() {
            return Err(format!(
                "line {} has {} fields, and the header of the table {}",
                row.line,
                fields.len(),
                self.columns.len()
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
    }
}
