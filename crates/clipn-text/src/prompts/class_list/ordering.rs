//! Classes in the order of their numbers.

use super::{Entries, Entry, Unclear};

/// Headers of columns and keys of objects with the number of a class, in order of preference. A column
/// without header is the index of pandas.
pub(super) const NUMBER_COLUMNS: [&str; 18] = [
    "index",
    "idx",
    "class_index",
    "class_idx",
    "class_id",
    "class id",
    "classid",
    "category_id",
    "label_id",
    "label_index",
    "id",
    "number",
    "no",
    "label",
    "target",
    "class",
    "category",
    "",
];

/// Column with numbers of the classes, or key of objects.
#[derive(Debug)]
pub(super) struct NumberColumn {
    pub(super) header: String,
    /// The number of each entry, if it has one.
    pub(super) numbers: Vec<Option<usize>>,
}

/// Sorts entries by the first column with complete numbers. If there is none, the order is kept, with
/// a remark about the first column that has numbers.
pub(super) fn sort_by_column(
    mut read: Entries,
    columns: &[NumberColumn],
) -> Result<Entries, Unclear> {
    let is_complete = |column: &&NumberColumn| are_complete(&column.numbers);
    let Some(column) = columns.iter().find(is_complete) else {
        if read.entries.len() > 1 {
            read.remark = columns.iter().find_map(order_remark);
        }
        return Ok(read);
    };
    for (entry, number) in read.entries.iter_mut().zip(&column.numbers) {
        entry.number = *number;
    }
    sort_by_number(read)
}

/// Describes why numbers do not give the order; `None` if there are none.
fn order_remark(column: &NumberColumn) -> Option<String> {
    let mut numbers: Vec<usize> = column.numbers.iter().flatten().copied().collect();
    if numbers.is_empty() {
        return None;
    }
    numbers.sort_unstable();
    let header = match &*column.header {
        "" => "the first column".to_owned(),
        header => format!("`{header}`"),
    };
    Some(match numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => format!(
            "the order is that of the source, since {header} has the number {} twice",
            pair[0]
        ),
        None => format!(
            "the order is that of the source, since the numbers in {header} are not complete"
        ),
    })
}

/// Sorts entries by their numbers, which must be 0 to K−1 or 1 to K, each once.
pub(super) fn sort_by_number(mut read: Entries) -> Result<Entries, Unclear> {
    let mut numbers: Vec<usize> = read
        .entries
        .iter()
        .filter_map(|entry| entry.number)
        .collect();
    read.reordered = !numbers.is_sorted();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("the number {} belongs to two names", pair[0]));
    }
    let first = numbers.first().copied().unwrap_or_default();
    let count = read.entries.len();
    if first > 1 || numbers.last().copied() != Some(first + count - 1) {
        let missing = (first.min(1)..).find(|number| numbers.binary_search(number).is_err());
        return Err(format!(
            "{count} numbered names, but number {} is missing",
            missing.unwrap_or_default()
        ));
    }
    read.entries.sort_by_key(|entry| entry.number);
    Ok(read)
}

/// Whether the numbers of entries are complete, as [`are_complete`] says.
pub(super) fn are_consecutive(entries: &[Entry]) -> bool {
    let numbers: Vec<Option<usize>> = entries.iter().map(|entry| entry.number).collect();
    are_complete(&numbers)
}

/// Whether numbers are 0 to K−1 or 1 to K in any order, each once, and none is missing.
pub(super) fn are_complete(numbers: &[Option<usize>]) -> bool {
    let mut sorted: Vec<usize> = numbers.iter().flatten().copied().collect();
    sorted.sort_unstable();
    let first = sorted.first().copied().unwrap_or(usize::MAX);
    first <= 1
        && sorted.len() == numbers.len()
        && sorted
            .iter()
            .enumerate()
            .all(|(i, &number)| number == first + i)
}
