//! Counts of the files that a search for images leaves out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Maximum number of kinds that are counted apart.
const MAX_KINDS: usize = 20;

/// Maximum length of an extension that is a kind of its own.
const MAX_EXTENSION: usize = 12;

/// Kind of files without an extension.
const NO_EXTENSION: &str = "no extension";

/// Kind of files with rare or odd extensions.
const OTHER: &str = "other";

/// Kind of pipes, sockets and devices.
const NO_REGULAR_FILE: &str = "no regular file";

/// Kind of images that belong to no class of a labeled set.
const OUTSIDE_CLASSES: &str = "image outside the class directories";

/// Kind of samples of an archive that have no image.
const SAMPLE_WITHOUT_IMAGE: &str = "sample without an image";

/// Maximum number of members of one kind that are counted by their names.
const MAX_NAMED_MEMBERS: usize = 3;

/// Maximum number of characters of the name of a member.
const MAX_MEMBER_NAME: usize = 80;

/// Number of files that were skipped because they are no images, by kind: the extension in lower
/// case with its dot, or `no extension`. Pipes, sockets and devices are `no regular file`, whatever
/// their names. Members of archives that are no files, such as a volume
/// label, are counted by their kind, the first three of each by kind and name.
///
/// Hidden files and files that systems leave behind ([`is_ignored_name`](crate::is_ignored_name))
/// are not counted. More than 20 kinds are summed up as `other`.
///
/// ```
/// use clipn_data::SkippedFiles;
///
/// let mut skipped = SkippedFiles::default();
/// for name in ["a.txt", "b.TXT", "c.xml", "LICENSE"] {
///     skipped.add(name.as_ref());
/// }
/// assert_eq!(skipped.total(), 4);
/// assert_eq!(skipped.to_string(), ".txt 2, .xml 1, no extension 1");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SkippedFiles {
    counts: BTreeMap<String, u64>,
}

impl SkippedFiles {
    /// Counts a file with this name.
    pub fn add(&mut self, name: &OsStr) {
        let extension = Path::new(name).extension();
        let extension = extension.filter(|extension| !extension.is_empty());
        let is_plain = |text: &str| {
            text.len() <= MAX_EXTENSION && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        match extension.map(|extension| extension.to_str().filter(|text| is_plain(text))) {
            None => self.count(NO_EXTENSION, 1),
            Some(Some(extension)) => self.count(&format!(".{}", extension.to_ascii_lowercase()), 1),
            Some(None) => self.count(OTHER, 1),
        }
    }

    /// Counts a pipe, socket or device, which could block forever when opened.
    pub(crate) fn add_special_file(&mut self) {
        self.count(NO_REGULAR_FILE, 1);
    }

    /// Counts images that belong to no class of a labeled set.
    pub(crate) fn add_outside_classes(&mut self, images: usize) {
        if images > 0 {
            self.count(OUTSIDE_CLASSES, images as u64);
        }
    }

    /// Counts a sample of an archive that has no image.
    pub(crate) fn add_sample_without_image(&mut self) {
        self.count(SAMPLE_WITHOUT_IMAGE, 1);
    }

    /// Counts a member of an archive that is no file, by its kind and name.
    pub(crate) fn add_member(&mut self, kind: &str, name: &str) {
        let prefix = format!("{kind} `");
        let named = self.counts.keys().filter(|key| key.starts_with(&prefix));
        if named.count() >= MAX_NAMED_MEMBERS {
            return self.count(kind, 1);
        }
        let shown: String = name.chars().take(MAX_MEMBER_NAME).collect();
        let cut = if shown.len() < name.len() { "…" } else { "" };
        self.count(&format!("{prefix}{shown}{cut}`"), 1);
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.counts {
            self.count(kind, *count);
        }
    }

    fn count(&mut self, kind: &str, files: u64) {
        let is_known = self.counts.contains_key(kind);
        let kind = if is_known || self.counts.len() < MAX_KINDS {
            kind
        } else {
            OTHER
        };
        *self.counts.entry(kind.to_owned()).or_default() += files;
    }

    /// Returns the number of files by kind.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// Returns the number of files.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Returns whether no file was skipped.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// The kinds with their counts, the largest first: `.txt 3, no extension 1`.
impl fmt::Display for SkippedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<_> = self.counts.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (index, (kind, count)) in kinds.into_iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{kind} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_rare_extensions_are_other() {
        let mut skipped = SkippedFiles::default();
        for name in ["a.b c", "a.\u{1b}[2J", "a.an_extension_too_long", "a.é"] {
            skipped.add(name.as_ref());
        }
        assert_eq!(skipped.to_string(), "other 4");
        for index in 0..100 {
            skipped.add(format!("a.x{index}").as_ref());
        }
        assert_eq!(skipped.total(), 104);
        assert_eq!(skipped.counts().len(), MAX_KINDS);
        assert_eq!(skipped.counts()["other"], 85);
    }

    #[test]
    fn the_first_members_of_a_kind_are_named() {
        let mut skipped = SkippedFiles::default();
        for index in 0..5 {
            skipped.add_member("named pipe", &format!("p{index}"));
        }
        skipped.add_member("volume label", &"l".repeat(100));
        let label = "l".repeat(80);
        assert_eq!(
            skipped.to_string(),
            format!(
                "named pipe 2, named pipe `p0` 1, named pipe `p1` 1, named pipe `p2` 1, \
                 volume label `{label}…` 1"
            )
        );
    }

    #[test]
    fn counts_are_merged_and_written_as_an_object() {
        let mut skipped = SkippedFiles::default();
        skipped.add("a.txt".as_ref());
        let mut all = skipped.clone();
        all.merge(&skipped);
        all.add_outside_classes(3);
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(
            json,
            r#"{".txt":2,"image outside the class directories":3}"#
        );
        assert_eq!(serde_json::from_str::<SkippedFiles>(&json).unwrap(), all);
    }
}
