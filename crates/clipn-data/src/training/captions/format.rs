use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Meaning of `"` in a CSV or TSV file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TableQuoting {
    /// Detected: of a table with the extension `.tsv`, [`None`](Self::None) if no field is quoted
    /// throughout and every line has all columns; otherwise [`Minimal`](Self::Minimal).
    #[default]
    Auto,
    /// A field that begins with a quote ends with the closing one, even on another line, and may
    /// contain separators and line ends.
    Minimal,
    /// A quote is a character like any other, as in the tables of CC3M.
    None,
}

impl fmt::Display for TableQuoting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Minimal => "minimal",
            Self::None => "none",
        })
    }
}

impl FromStr for TableQuoting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "minimal" => Ok(Self::Minimal),
            "none" => Ok(Self::None),
            _ => Err(format!("expected auto, minimal or none, got `{text}`")),
        }
    }
}

/// Format of a caption table, with open_clip's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptionTableFormat {
    /// Separator of columns, one ASCII character; open_clip's `--csv-separator`.
    pub separator: char,
    /// Header of the column of image paths; open_clip's `--csv-img-key`. In JSON Lines and Parquet,
    /// the key or column.
    pub image_key: String,
    /// Header of the column of captions; open_clip's `--csv-caption-key`. In JSON Lines and
    /// Parquet, the key or column.
    pub caption_key: String,
    /// Meaning of quotes.
    #[serde(default)]
    pub quoting: TableQuoting,
    /// Names of the classes, if the caption column has class indices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
}

impl Default for CaptionTableFormat {
    /// Returns open_clip's defaults: tab, `filepath`, `title`.
    fn default() -> Self {
        Self {
            separator: '\t',
            image_key: "filepath".to_string(),
            caption_key: "title".to_string(),
            quoting: TableQuoting::Auto,
            class_names: Vec::new(),
        }
    }
}
