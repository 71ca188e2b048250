//! Names that are equal for the text tower, and the name that no class may have.
use std::collections::HashMap;

use crate::tokenizer::{Tokenizer, clean};

/// Label of an image that belongs to no class, which no class may be called.
pub const RESERVED_NAME: &str = "unknown";

/// Groups the indices of names that the tokenizer turns into the same tokens: names that differ at
/// most in case, white space, Unicode form (NFC or NFD) or in what the tokenizer drops. Groups have
/// at least two names and are in the order of their first.
///
/// ```
/// use clipn_text::prompts::duplicate_names;
///
/// let names = ["pizza", "school bus", "Pizza ", "school  bus", "cat"];
/// assert_eq!(duplicate_names(&names), [[0, 2], [1, 3]]);
/// ```
pub fn duplicate_names<S: AsRef<str>>(names: &[S]) -> Vec<Vec<usize>> {
    let tokenizer = Tokenizer::clip();
    let keys = names.iter().map(|name| tokenizer.encode(name.as_ref()));
    equal_keys(keys)
}

/// Key by which names of two lists are matched: the cleaned name with spaces for underscores.
pub(super) fn name_key(name: &str) -> String {
    clean(&name.replace('_', " "))
}

/// Groups the indices of equal keys; groups have at least two.
fn equal_keys(keys: impl Iterator<Item = Vec<u32>>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: HashMap<Vec<u32>, usize> = HashMap::new();
    for (index, key) in keys.enumerate() {
        let group = *group_of.entry(key).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Whether a name is the label of images that belong to no class, ignoring case and white space.
pub fn is_reserved_name(name: &str) -> bool {
    let tokenizer = Tokenizer::clip();
    tokenizer.encode(name) == tokenizer.encode(RESERVED_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_duplicates_if_their_tokens_are_equal() {
        let groups = |names: &[&str]| duplicate_names(names);
        assert_eq!(groups(&["caf\u{e9}", "cafe\u{301}", "cafe"]), [[0, 1]]);
        assert_eq!(groups(&["a  b", "A B", "ab"]), [[0, 1]]);
        assert_eq!(
            groups(&["hot dog", "hot-dog", "hotdog", "hot dog."]).len(),
            0
        );
        assert_eq!(groups(&["x", "x", "X"]), [[0, 1, 2]]);
    }

    #[test]
    fn the_label_of_unknown_images_is_reserved() {
        for name in ["unknown", "Unknown", " UNKNOWN ", "unknown\u{a0}"] {
            assert!(is_reserved_name(name), "{name:?}");
        }
        for name in ["unknown animal", "the unknown", "unknowns"] {
            assert!(!is_reserved_name(name), "{name:?}");
        }
    }
}
