//! Samples that WebDataset's rule merges, because their keys have dots.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use crate::image_name::is_image_name;
use crate::training::skipped::SkipReason;
use crate::training::webdataset::fields::SampleFiles;

impl SampleFiles {
    /// Returns the ends of the keys that were cut at their first dot, if several samples with dots
    /// in their keys were merged into this one: `1`, `2` for `img.1.jpg` and `img.2.jpg`. There are
    /// at least two of them, each with an image, and all with the same kinds of files.
    pub(crate) fn merged_keys(&self) -> Vec<&str> {
        let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for extension in &self.seen {
            let Some((key, kind)) = extension.rsplit_once('.') else {
                return Vec::new();
            };
            kinds.entry(key).or_default().insert(kind);
        }
        let is_image = |kind: &&str| is_image_name(OsStr::new(&format!("image.{kind}")));
        let mut all = kinds.values();
        match all.next() {
            Some(first)
                if kinds.len() > 1
                    && first.len() > 1
                    && first.iter().any(is_image)
                    && all.all(|others| others == first) =>
            {
                kinds.into_keys().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Why the sample has not the expected files, if it was merged from several.
    pub(super) fn merged_problem(&self) -> Option<(SkipReason, String)> {
        let keys = self.merged_keys();
        (!keys.is_empty()).then(|| {
            let problem = format!(
                "{} samples with dots in their keys ({}) are one by WebDataset's rule, which ends a key \
                 at the first dot: files {}",
                keys.len(),
                first_keys(&self.key, &keys),
                self.shown_fields()
            );
            (SkipReason::DottedKeys, problem)
        })
    }
}

/// The first keys that a dot cuts, for a message: `img.1, img.2, …`.
pub(crate) fn first_keys(key: &str, ends: &[&str]) -> String {
    let mut keys: Vec<String> = ends.iter().map(|end| format!("{key}.{end}")).collect();
    if keys.len() > 3 {
        keys.truncate(2);
        keys.push("…".to_owned());
    }
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::webdataset::SampleFields;

    #[test]
    fn samples_that_a_dot_in_their_keys_merges_are_named() {
        let group = |seen: &[&str]| {
            let mut group = SampleFiles::new("img".to_string());
            group.seen = seen.iter().map(ToString::to_string).collect();
            group
        };
        // `webdataset.TarWriter` 1.0.2 writes the keys img.1 and img.2 so, and `WebDataset` reads
        // one sample with the fields 1.jpg, 1.txt, 2.jpg and 2.txt.
        let merged = group(&["1.jpg", "1.txt", "2.jpg", "2.txt"]);
        assert_eq!(merged.merged_keys(), ["1", "2"]);
        let (reason, problem) = SampleFields::default()
            .take(merged, "k")
            .map_err(|skipped| (skipped.reason, skipped.detail))
            .unwrap_err();
        assert_eq!(reason, SkipReason::DottedKeys);
        assert_eq!(
            problem,
            "2 samples with dots in their keys (img.1, img.2) are one by WebDataset's rule, which ends a \
             key at the first dot: files 1.jpg, 1.txt, 2.jpg, 2.txt"
        );
        // Several images of one sample are no samples of their own.
        for seen in [
            &["jpg", "seg.png", "depth.png", "txt"][..],
            &["seg.png", "depth.png"],
            &["1.jpg", "1.txt"],
            &["left.jpg", "left.json", "right.jpg"],
            &["1.txt", "1.json", "2.txt", "2.json"],
        ] {
            assert_eq!(group(seen).merged_keys(), [""; 0], "{seen:?}");
        }
    }
}
