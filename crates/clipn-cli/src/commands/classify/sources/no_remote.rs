//! Stand-in for `remote` in builds without that feature.

use super::{SharedSkippedFiles, SourceItem, SourceItems};

/// Uninhabited: no URL can be opened.
pub(crate) enum Remote {}

impl Remote {
    pub(crate) fn open() -> Result<Self, String> {
        Err(
            "URLs (s3://, gs://, https://) need a clipn that was built with the feature `remote`: \
             build with `--features remote`, or download the files first"
                .to_owned(),
        )
    }

    pub(crate) fn prefix(
        &self,
        _: &str,
        _: &SharedSkippedFiles,
    ) -> Result<Option<SourceItems>, String> {
        match *self {}
    }

    pub(crate) fn item(&self, _: &str) -> SourceItem {
        match *self {}
    }
}
