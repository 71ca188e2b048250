//! Warning of images that are in two sets that should have nothing in common.

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
