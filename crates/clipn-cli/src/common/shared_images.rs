//! Warnings of images and files of features that are in two sets that should have nothing in common.

use std::fs::canonicalize;
use std::path::Path;

use clipn::dataset::ImagePaths;

use crate::common::messages::warning;

/// What follows for images of an out-of-distribution set that are in the in-distribution set too.
pub(crate) const IN_BOTH: &str = "they count as in-distribution and out-of-distribution";

/// Images by their paths, and the name by which messages know them.
pub(crate) struct NamedPaths<'a> {
    pub(crate) name: &'a str,
    pub(crate) paths: ImagePaths,
}

impl NamedPaths<'_> {
    /// Warns if images of the set `name` are in this set too.
    pub(crate) fn warn_of_shared<'a>(
        &self,
        name: &str,
        images: impl ExactSizeIterator<Item = &'a Path>,
        consequence: &str,
    ) {
        let count = images.len();
        let shared = self.paths.shared_paths(images);
        if let Some(first) = shared.first() {
            warning(format_args!(
                "images of {name} that are in {} too: {} of {count}, such as {}: {consequence}",
                self.name,
                shared.len(),
                first.display()
            ));
        }
    }
}

/// Warns if two files of features are the same. `names` are what messages call them.
pub(crate) fn warn_of_same_features(names: [&str; 2], files: [&Path; 2], consequence: &str) {
    if let [Ok(one), Ok(other)] = files.map(canonicalize)
        && one == other
    {
        let [one, other] = names;
        warning(format_args!(
            "{one} and {other} are the same file: {consequence}"
        ));
    }
}
