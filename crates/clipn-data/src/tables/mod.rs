//! Tables that list images, shared by training and by streams of images: keys and columns, JSON
//! Lines and, with the feature `parquet`, Parquet.

mod json_lines;
mod keys;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;

use std::path::Path;

use clipn_base::content::ContentKind;

pub(crate) use json_lines::{JsonLine, JsonLines};
pub(crate) use keys::{CAPTION_KEYS, IMAGE_KEYS, find_key, list_keys};

/// Format of a file that lists images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableKind {
    /// CSV or TSV with a header.
    Delimited,
    /// One JSON object per line.
    JsonLines,
    /// Parquet.
    Parquet,
}

impl TableKind {
    /// Infers the format from the extension: `.csv` and `.tsv`, `.jsonl` and `.ndjson`, `.parquet`.
    /// `None` for other files.
    ///
    /// ```
    /// use clipn_data::TableKind;
    ///
    /// assert_eq!(TableKind::of_file("pairs.JSONL"), Some(TableKind::JsonLines));
    /// assert_eq!(TableKind::of_file("shard-000.tar"), None);
    /// ```
    pub fn of_file(path: impl AsRef<Path>) -> Option<Self> {
        let path = path.as_ref();
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" | "tsv" => Some(Self::Delimited),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Whether a file is a table of JSON Lines or Parquet, by its extension or, for Parquet, by its content.
pub fn is_table_file(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let is_parquet = || ContentKind::of_file(path).is_ok_and(|kind| kind == ContentKind::Parquet);
    path.is_file()
        && match TableKind::of_file(path) {
            Some(TableKind::JsonLines | TableKind::Parquet) => true,
            _ => is_parquet(),
        }
}

/// Names the content of a file that is no table of text, for an error message.
pub(crate) fn unlike_text(path: &Path) -> Option<&'static str> {
    match ContentKind::of_file(path).ok()? {
        ContentKind::Text | ContentKind::Unknown => None,
        kind => Some(kind.name()),
    }
}
