//! Classes in the order of their numbers.

use super::{Entries, Entry, Unclear};

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

/// Whether the numbers are 0 to K−1 in any order, or 1 to K if `from_one` allows it.
pub(super) fn are_consecutive(entries: &[Entry], from_one: bool) -> bool {
    let mut numbers: Vec<usize> = entries.iter().filter_map(|entry| entry.number).collect();
    numbers.sort_unstable();
    let first = numbers.first().copied().unwrap_or(usize::MAX);
    let starts = first == 0 || (first == 1 && from_one);
    starts
        && numbers.len() == entries.len()
        && numbers
            .iter()
            .enumerate()
            .all(|(i, &number)| number == first + i)
}
