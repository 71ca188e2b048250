use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::raw;
use crate::read::read_limited;
use crate::{DatasetError, MapSource};

/// Maximum size of a definition in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Embedded definitions by name.
const EMBEDDED: [(&str, &str); 2] = [
    (
        "imagenet-1k",
        include_str!("../../assets/benchmarks/imagenet-1k.toml"),
    ),
    (
        "tiny-imagenet-ood",
        include_str!("../../assets/benchmarks/tiny-imagenet-ood.toml"),
    ),
];

/// A benchmark: an in-distribution (ID) set and the out-of-distribution (OOD) sets to separate it
/// from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Benchmark {
    /// Name in results.
    pub name: String,
    /// Short description; may be empty.
    pub description: String,
    /// Whether every image is converted to gray first, as a control for sets that differ in color
    /// alone.
    pub grey: bool,
    /// ID set.
    pub id: IdDefinition,
    /// OOD sets, at least one, in the order of the table.
    pub ood: Vec<OodDefinition>,
}

/// ID set of a [`Benchmark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdDefinition {
    /// Name in tables.
    pub name: String,
    /// Location of the images.
    pub source: SetSource,
    /// Source of the class names.
    pub classes: ClassSource,
}

/// OOD set of a [`Benchmark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OodDefinition {
    /// Name in tables.
    pub name: String,
    /// Distance from the ID classes, if the definition has it.
    pub kind: Option<OodKind>,
    /// Location of the images.
    pub source: SetSource,
}

/// Distance of an OOD set from the ID classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OodKind {
    /// Other classes of the same kind of image.
    Near,
    /// Another kind of image.
    Far,
}

impl fmt::Display for OodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Near => "near",
            Self::Far => "far",
        })
    }
}

/// Location of a set's images; paths are relative to the data root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetSource {
    /// A directory with one subdirectory per class or, for an OOD set, any directory of images.
    Folder {
        /// Path of the directory.
        path: PathBuf,
        /// Selection of class directories.
        selection: Selection,
    },
    /// An image list with `path label` on each line.
    List {
        /// Path of the list.
        path: PathBuf,
        /// Directory that the list's paths are relative to.
        root: PathBuf,
    },
}

/// Selection of class directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Map with the roles of the directories.
    pub map: Option<MapSource>,
    /// Roles in the map to select; empty selects all directories.
    pub roles: Vec<String>,
    /// Names of excluded directories.
    pub exclude: Vec<String>,
}

/// Source of the ID class names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassSource {
    /// A built-in class list such as `imagenet-1k`. The `k`-th name belongs to the `k`-th class
    /// directory in sorted order, before any is excluded, or to label `k` of an image list.
    Named(String),
    /// Names given in the definition, in the same order.
    Inline(Vec<String>),
    /// Names of the directories in a map.
    FolderMap(MapSource),
    /// Names of the directories themselves.
    FolderNames,
}

impl Benchmark {
    /// Returns the names of the embedded definitions.
    pub fn names() -> Vec<&'static str> {
        EMBEDDED.iter().map(|(name, _)| *name).collect()
    }

    /// Loads an embedded definition by name, or else a definition file by path.
    ///
    /// # Errors
    /// [`DatasetError::UnknownBenchmark`] if there is neither, an I/O error of the file, and the
    /// errors of [`parse`](Self::parse).
    pub fn load(name_or_path: &str) -> Result<Self, DatasetError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_path);
        let bytes = match read_limited(path, MAX_BYTES) {
            Err(DatasetError::Missing { .. }) => {
                let known = Self::names().join(", ");
                return Err(DatasetError::UnknownBenchmark {
                    given: name_or_path.to_string(),
                    known,
                });
            }
            other => other?,
        };
        let text = String::from_utf8(bytes).map_err(|_| DatasetError::Definition {
            origin: name_or_path.to_string(),
            problem: "not UTF-8 text".to_string(),
        })?;
        Self::parse(&text, name_or_path)
    }

    /// Parses a definition; `origin` names it in errors.
    ///
    /// # Errors
    /// [`DatasetError::Definition`] if the text is not valid TOML, a key is missing, unknown or of
    /// the wrong type, or keys contradict each other.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DatasetError> {
        raw::parse(text).map_err(|problem| DatasetError::Definition {
            origin: origin.to_string(),
            problem,
        })
    }
}
