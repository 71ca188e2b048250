use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::features::FeatureError;
use crate::tables::{JsonLine, JsonLines};

/// What the keys of features are: names of images, or texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Paths or names of images.
    Image,
    /// Texts.
    Text,
}

impl KeyKind {
    /// Returns the name of the column of keys, that of `clip-retrieval`: `image_path` or `caption`.
    pub fn column(self) -> &'static str {
        match self {
            Self::Image => "image_path",
            Self::Text => "caption",
        }
    }
}

/// Names of columns that have keys, the first one wins.
pub(super) const KEY_COLUMNS: [&str; 10] = [
    "image_path",
    "caption",
    "path",
    "filepath",
    "file_name",
    "key",
    "text",
    "class",
    "name",
    "url",
];

/// Returns the files beside a file of features that may have its keys: `NAME.keys.jsonl` and
/// `NAME.keys.parquet`.
pub fn keys_beside(features: impl AsRef<Path>) -> [PathBuf; 2] {
    let features = features.as_ref();
    ["keys.jsonl", "keys.parquet"].map(|ending| features.with_extension(ending))
}

/// Reads the keys beside a file of features; `None` if there are none.
pub(super) fn read_beside(features: &Path) -> Result<Option<Vec<String>>, FeatureError> {
    let [lines, table] = keys_beside(features);
    if lines.is_file() {
        return read_lines(&lines).map(Some);
    }
    if table.is_file() {
        return read_table(&table).map(Some);
    }
    Ok(None)
}

#[cfg(feature = "parquet")]
fn read_table(path: &Path) -> Result<Vec<String>, FeatureError> {
    super::parquet::read_keys(path)
}

#[cfg(not(feature = "parquet"))]
fn read_table(path: &Path) -> Result<Vec<String>, FeatureError> {
    Err(FeatureError::WithoutParquet {
        path: path.to_owned(),
    })
}

fn read_lines(path: &Path) -> Result<Vec<String>, FeatureError> {
    let unreadable = |source| FeatureError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut lines = JsonLines::new(BufReader::new(file));
    let mut keys = Vec::new();
    while let Some((number, line)) = lines.next().map_err(unreadable)? {
        let failed = |reason: String| FeatureError::Format {
            path: path.to_owned(),
            reason: format!("line {number}: {reason}"),
        };
        let object = match line {
            JsonLine::Object(object) => object,
            JsonLine::Malformed(problem) => return Err(failed(problem.to_owned())),
        };
        let key = KEY_COLUMNS
            .iter()
            .find_map(|name| object.get(*name).and_then(Value::as_str))
            .ok_or_else(|| failed(format!("expected a string `{}`", KEY_COLUMNS[0])))?;
        keys.push(key.to_owned());
    }
    Ok(keys)
}
