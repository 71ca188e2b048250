use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use clipn_base::count::count;
use unicode_normalization::UnicodeNormalization;

use crate::error::{DatasetError, first_few};

/// Class names in the order of a list, and the synset ids of the classes if the list has them.
/// Class directories are matched by both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedClasses {
    /// Class names, `[K]`.
    pub names: Vec<String>,
    /// Synset ids such as `n01443537`, `[K]`; empty if unknown.
    pub synset_ids: Vec<String>,
}

impl From<Vec<String>> for ListedClasses {
    fn from(names: Vec<String>) -> Self {
        Self {
            names,
            synset_ids: Vec::new(),
        }
    }
}

impl ListedClasses {
    /// Returns the class of each directory by its name or synset id, or by its number if the
    /// directories are numbered from 0 to K−1; `None` for the others.
    ///
    /// ```
    /// use clipn_data::ListedClasses;
    ///
    /// let classes = ListedClasses::from(["cat", "school bus"].map(String::from).to_vec());
    /// let of = |names: [&str; 2]| classes.classes_of_directories(&names.map(String::from));
    /// assert_eq!(of(["School_bus", "other"]), [Some(1), None]);
    /// assert_eq!(of(["1", "0"]), [Some(1), Some(0)]);
    /// ```
    pub fn classes_of_directories(&self, directories: &[String]) -> Vec<Option<usize>> {
        let named = by_name(self, directories);
        if directories.len() == self.names.len()
            && named.iter().all(Option::is_none)
            && let Some(numbered) = by_number(self.names.len(), directories)
        {
            return numbered.classes.into_iter().map(Some).collect();
        }
        named
            .into_iter()
            .map(|found| found.map(|found| found.class))
            .collect()
    }
}

/// How the labels of a set and the class names go together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassMatching {
    /// The names are those of the class directories.
    DirectoryNames,
    /// The names are those of the labels in a table.
    LabelNames,
    /// A map has a name for each class directory.
    Map,
    /// The set has labels, which are indices of the names.
    Labels,
    /// The class directories are named by the indices of the names, from `first`, which is 0 or 1.
    Numbers {
        /// Number of the first name.
        first: usize,
    },
    /// The class directories are named like the classes.
    Names,
    /// The names of the class directories are, or begin with, the synset ids of the classes.
    SynsetIds,
    /// The `k`-th class directory in sorted order belongs to the `k`-th name.
    Position {
        /// The first few directories that have no class of their name, although others have.
        unmatched: Vec<String>,
        /// Number of such directories.
        unmatched_count: usize,
    },
}

/// Class names in the order of the labels, and how they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MatchedClasses {
    /// Class names, `[K]`. Names without a class directory are the last.
    pub names: Vec<String>,
    /// How names and labels go together.
    pub matching: ClassMatching,
    /// Class directories, or names of labels in a table, by label; empty for a set without.
    pub directories: Vec<String>,
}

impl MatchedClasses {
    pub(super) fn new(names: Vec<String>, matching: ClassMatching, directories: &[String]) -> Self {
        Self {
            names,
            matching,
            directories: directories.to_vec(),
        }
    }

    /// Names without a class directory, in a set that has class directories.
    pub fn names_without_directory(&self) -> &[String] {
        match self.directories.len() {
            0 => &[],
            directories => &self.names[directories.min(self.names.len())..],
        }
    }

    /// The first few pairs of class directory and name, such as `10 = mushroom`.
    fn examples(&self) -> String {
        const SHOWN: usize = 3;
        let pairs = self.directories.iter().zip(&self.names);
        let shown: Vec<String> = pairs
            .take(SHOWN)
            .map(|(directory, name)| format!("{directory} = {name}"))
            .collect();
        let more = if self.directories.len() > SHOWN {
            ", …"
        } else {
            ""
        };
        format!("{}{more}", shown.join(", "))
    }
}

impl fmt::Display for MatchedClasses {
    /// Describes in one line how class directories and names go together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directories, names) = (self.directories.len(), self.names.len());
        let classes = count(names, "class name");
        let how = match &self.matching {
            ClassMatching::DirectoryNames => {
                return write!(f, "{classes} from the directories");
            }
            ClassMatching::LabelNames => {
                return write!(f, "{classes} from the labels");
            }
            ClassMatching::Map => return write!(f, "{classes} from the map"),
            ClassMatching::Labels => return write!(f, "labels are indices of {classes}"),
            ClassMatching::Numbers { .. } => "by number",
            ClassMatching::Names => "by name",
            ClassMatching::SynsetIds => "by synset id",
            ClassMatching::Position { .. } => "by position, in sorted order",
        };
        write!(
            f,
            "{} matched with {classes} {how}: {}",
            count(directories, "class directory"),
            self.examples()
        )
    }
}

/// Class of each directory, as an index of the listed names.
#[derive(Debug)]
pub(super) struct DirectoryClasses {
    pub(super) classes: Vec<usize>,
    pub(super) matching: ClassMatching,
}

/// Number of a directory, if its name is one, such as `007`.
pub(super) fn number(directory: &str) -> Option<usize> {
    let digits = !directory.is_empty() && directory.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| directory.parse().ok()).flatten()
}

/// Matches class directories with listed names: by name or synset id, or by number, else by position.
pub(super) fn match_directories(
    listed: &ListedClasses,
    directories: &[String],
    root: &Path,
) -> Result<DirectoryClasses, DatasetError> {
    let found = by_name(listed, directories);
    let matched: Vec<usize> = found.iter().flatten().map(|found| found.class).collect();
    if matched.len() == directories.len() {
        let is_by_id = found.iter().flatten().any(|found| found.by_id);
        let matching = if is_by_id {
            ClassMatching::SynsetIds
        } else {
            ClassMatching::Names
        };
        return Ok(DirectoryClasses {
            classes: matched,
            matching,
        });
    }
    if let Some(by_number) = by_number(listed.names.len(), directories) {
        return Ok(by_number);
    }
    let unmatched: Vec<&String> = directories
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none() && !matched.is_empty())
        .map(|(directory, _)| directory)
        .collect();
    let in_order = found
        .iter()
        .enumerate()
        .all(|(position, found)| found.as_ref().is_none_or(|found| found.class == position));
    if listed.names.len() != directories.len() && unmatched.is_empty() {
        return Err(DatasetError::ClassCount {
            path: root.to_path_buf(),
            names: listed.names.len(),
            directories: directories.len(),
            first_names: first_few(&listed.names),
            first_directories: first_few(directories),
        });
    }
    if listed.names.len() != directories.len() || !in_order {
        let matched: HashSet<usize> = matched.into_iter().collect();
        let without = listed.names.iter().enumerate();
        let without = without.filter(|(class, _)| !matched.contains(class));
        return Err(DatasetError::PartialMatch {
            path: root.to_path_buf(),
            matched: matched.len(),
            count: unmatched.len(),
            directories: first_few(unmatched),
            names: first_few(without.map(|(_, name)| name)),
        });
    }
    Ok(DirectoryClasses {
        classes: (0..directories.len()).collect(),
        matching: ClassMatching::Position {
            unmatched_count: unmatched.len(),
            unmatched: first_few(unmatched),
        },
    })
}

/// Class that a directory is named after.
#[derive(Debug, Clone, Copy)]
struct NamedClass {
    class: usize,
    by_id: bool,
}

/// Finds the class of each directory by its name. A class with several directories, and a name with
/// several classes, match nothing.
fn by_name(listed: &ListedClasses, directories: &[String]) -> Vec<Option<NamedClass>> {
    let index = |keys: Vec<String>| {
        let mut index: HashMap<String, Option<usize>> = HashMap::new();
        for (class, key) in keys.into_iter().enumerate() {
            index
                .entry(key)
                .and_modify(|class| *class = None)
                .or_insert(Some(class));
        }
        index
    };
    let names = index(listed.names.iter().map(|name| key(name)).collect());
    let ids = index(listed.synset_ids.clone());
    let find = |directory: &String| {
        let (id, rest) = split_id(directory);
        if let Some(Some(class)) = id.and_then(|id| ids.get(id)) {
            let class = *class;
            return Some(NamedClass { class, by_id: true });
        }
        [directory.as_str(), rest, without_number(directory)]
            .iter()
            .find_map(|name| names.get(&key(name)).copied().flatten())
            .map(|class| NamedClass {
                class,
                by_id: false,
            })
    };
    let mut found: Vec<Option<NamedClass>> = directories.iter().map(find).collect();
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for found in found.iter().flatten() {
        *counts.entry(found.class).or_default() += 1;
    }
    for found in &mut found {
        *found = found.filter(|found| counts[&found.class] == 1);
    }
    found
}

/// Takes whole numbers as labels from 0, or from 1 if they are 1 to K.
fn by_number(names: usize, directories: &[String]) -> Option<DirectoryClasses> {
    let numbers: Vec<usize> = directories
        .iter()
        .map(|directory| number(directory))
        .collect::<Option<_>>()?;
    let distinct: HashSet<usize> = numbers.iter().copied().collect();
    let largest = *numbers.iter().max()?;
    let is_from_one = !distinct.contains(&0) && numbers.len() == names && largest == names;
    let first = usize::from(is_from_one);
    let fits = distinct.len() == numbers.len() && largest < names + first;
    fits.then(|| DirectoryClasses {
        classes: numbers.iter().map(|number| number - first).collect(),
        matching: ClassMatching::Numbers { first },
    })
}

/// Key by which names are compared: without case, Unicode form and kind of white space, with spaces
/// for underscores and hyphens.
fn key(name: &str) -> String {
    let composed: String = name.nfc().collect();
    composed
        .to_lowercase()
        .split(|c: char| c.is_whitespace() || matches!(c, '_' | '-'))
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Splits a synset id from the beginning of a name, as in `n02085620-Chihuahua`.
fn split_id(directory: &str) -> (Option<&str>, &str) {
    match directory.split_at_checked(9) {
        Some((id, rest)) if id.starts_with('n') && number(&id[1..]).is_some() => {
            if rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                return (None, directory);
            }
            (Some(id), rest.trim_start_matches(['-', '_', '.', ' ']))
        }
        _ => (None, directory),
    }
}

/// Name without a number in front of it, as in `001.Black_footed_Albatross`.
fn without_number(directory: &str) -> &str {
    let rest = directory.trim_start_matches(|c: char| c.is_ascii_digit());
    let separated = rest.len() < directory.len() && rest.starts_with(['.', '_', '-', ' ']);
    if separated {
        rest.trim_start_matches(['.', '_', '-', ' '])
    } else {
        directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(names: &[&str], directories: &[&str]) -> Result<DirectoryClasses, String> {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let listed = ListedClasses::from(owned(names));
        match_directories(&listed, &owned(directories), Path::new("d")).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_are_labels() {
        let found = matched(&["a", "b", "c"], &["0", "1", "2"]).unwrap();
        assert_eq!(found.classes, [0, 1, 2]);
        assert_eq!(found.matching, ClassMatching::Numbers { first: 0 });
        let some = matched(&["a", "b", "c", "d"], &["3", "001"]).unwrap();
        assert_eq!(some.classes, [3, 1]);
        let from_one = matched(&["a", "b"], &["1", "2"]).unwrap();
        assert_eq!(from_one.classes, [0, 1]);
        assert_eq!(from_one.matching, ClassMatching::Numbers { first: 1 });
        // Years are no labels.
        let years = matched(&["a", "b"], &["2019", "2020"]).unwrap();
        assert!(matches!(years.matching, ClassMatching::Position { .. }));
        // Digits as names.
        assert_eq!(matched(&["1", "0"], &["0", "1"]).unwrap().classes, [1, 0]);
    }

    #[test]
    fn directories_are_found_by_name() {
        for directories in [
            ["school_bus", "Goldfish"],
            ["School Bus", "goldfish"],
            ["n04146614-school_bus", "n01443537-goldfish"],
            ["001.school_bus", "002.goldfish"],
        ] {
            let found = matched(&["goldfish", "school bus"], &directories).unwrap();
            assert_eq!(found.classes, [1, 0], "{directories:?}");
            assert_eq!(found.matching, ClassMatching::Names);
        }
        let composed = matched(&["a", "caf\u{e9}"], &["cafe\u{301}", "a"]).unwrap();
        assert_eq!(composed.classes, [1, 0]);
    }

    #[test]
    fn directories_are_found_by_synset_id() {
        let listed = ListedClasses {
            names: vec!["goldfish".to_owned(), "bus".to_owned()],
            synset_ids: vec!["n01443537".to_owned(), "n04146614".to_owned()],
        };
        for directories in [["n04146614", "n01443537"], ["n04146614_x", "n01443537 y"]] {
            let directories = directories.map(str::to_owned);
            let found = match_directories(&listed, &directories, Path::new("d")).unwrap();
            assert_eq!(found.classes, [1, 0]);
            assert_eq!(found.matching, ClassMatching::SynsetIds);
        }
    }

    #[test]
    fn partial_matches_are_refused_unless_the_order_is_that_of_the_names() {
        let error = matched(&["a", "b", "c"], &["b", "c", "x"]).unwrap_err();
        assert_eq!(
            error,
            "2 class directories in d have the name of a class, 1 has not (x), and there are \
             classes without a directory (a)"
        );
        assert!(
            matched(&["a", "b"], &["__MACOSX", "a", "b"])
                .unwrap_err()
                .contains("__MACOSX")
        );
        let renamed = matched(&["a", "car", "b"], &["a", "automobile", "b"]).unwrap();
        let position = ClassMatching::Position {
            unmatched: vec!["automobile".to_owned()],
            unmatched_count: 1,
        };
        assert_eq!(renamed.matching, position);
        assert!(
            matched(&["a", "b"], &["x", "y", "z"])
                .unwrap_err()
                .contains("one class name for each")
        );
        // Two directories of one class match nothing.
        assert!(
            matched(&["a", "b"], &["A", "a"])
                .is_ok_and(|found| { matches!(found.matching, ClassMatching::Position { .. }) })
        );
    }
}
