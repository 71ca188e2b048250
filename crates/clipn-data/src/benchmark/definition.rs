use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::raw;
use crate::read::read_limited;
use crate::{DatasetError, MapSource};

/// The largest definition read, in bytes.
const LIMIT: u64 = 16 << 20;

/// The definitions that the library carries, by name.
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

/// A benchmark: one in-distribution (ID) set and the out-of-distribution (OOD) sets it is told from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Benchmark {
    /// The name in results.
    pub name: String,
    /// A sentence or two about it; may be empty.
    pub description: String,
    /// Whether every image is turned grey first, a control against telling sets apart by colour alone.
    pub grey: bool,
    /// The ID set.
    pub id: IdDefinition,
    /// The OOD sets, at least one, in the order of the table.
    pub ood: Vec<OodDefinition>,
}

/// The ID set of a [`Benchmark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdDefinition {
    /// The name in tables.
    pub name: String,
    /// Where the images are.
    pub source: SetSource,
    /// What the classes are called.
    pub classes: ClassSource,
}

/// An OOD set of a [`Benchmark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OodDefinition {
    /// The name in tables.
    pub name: String,
    /// How far it lies from the ID classes, where the definition says so.
    pub kind: Option<OodKind>,
    /// Where the images are.
    pub source: SetSource,
}

/// How far an OOD set lies from the ID classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OodKind {
    /// Other classes of the same kind of picture.
    Near,
    /// Another kind of picture.
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

/// Where a set's images are; paths are relative to the data root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetSource {
    /// A folder with one folder a class, or, for an OOD set, any folder of images.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Which of its class folders count.
        selection: Selection,
    },
    /// An image list, `path label` a line.
    List {
        /// The list.
        path: PathBuf,
        /// The folder that the list's paths are relative to.
        root: PathBuf,
    },
}

/// Which class folders of a folder count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The map that knows the folders' roles.
    pub map: Option<MapSource>,
    /// Only folders with one of these roles in the map; every folder where empty.
    pub roles: Vec<String>,
    /// Folders that are left out.
    pub exclude: Vec<String>,
}

/// What the ID classes are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassSource {
    /// A class list known by name, such as `imagenet-1k`: the `k`-th name belongs to the `k`-th class folder in sorted
    /// order (before folders are left out), or to label `k` of an image list.
    Named(String),
    /// Names written into the definition, in the same order.
    Inline(Vec<String>),
    /// The names that a map gives the folders.
    FolderMap(MapSource),
    /// The folders' own names.
    FolderNames,
}

impl Benchmark {
    /// The names of the definitions that the library carries.
    pub fn names() -> Vec<&'static str> {
        EMBEDDED.iter().map(|(name, _)| *name).collect()
    }

    /// The embedded definition of that name, or else the definition in the file at that path.
    ///
    /// # Errors
    /// [`DatasetError::UnknownBenchmark`] for neither, and as [`parse`](Self::parse).
    pub fn load(name_or_path: &str) -> Result<Self, DatasetError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_path);
        let bytes = match read_limited(path, LIMIT) {
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
            problem: "it is not UTF-8 text: save it as UTF-8".to_string(),
        })?;
        Self::parse(&text, name_or_path)
    }

    /// Parses a definition; `origin` names it in errors.
    ///
    /// # Errors
    /// [`DatasetError::Definition`] for text that is no TOML, for keys that are missing, unknown or of the wrong type,
    /// and for keys that do not go together.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DatasetError> {
        raw::parse(text).map_err(|problem| DatasetError::Definition {
            origin: origin.to_string(),
            problem,
        })
    }
}
