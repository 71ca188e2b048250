use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DatasetError;
use crate::eval_sets::{ClassMapSource, ListedClasses};

/// A benchmark: an in-distribution (ID) set and the out-of-distribution (OOD) sets to separate it
/// from.
///
/// ```
/// use clipn_data::{Benchmark, OodKind};
///
/// let benchmark = Benchmark::load("imagenet-1k")?;
/// assert!(benchmark.ood.iter().any(|set| set.kind == Some(OodKind::Far)));
/// # Ok::<(), clipn_data::DatasetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Benchmark {
    /// Name in results.
    pub name: String,
    /// Short description; may be empty.
    pub description: String,
    /// Whether every image is converted to gray first, as a control for sets that differ in color
    /// alone.
    pub gray: bool,
    /// Directory that the paths of image lists are relative to; relative to the data root. Empty for the data
    /// root itself.
    pub list_root: PathBuf,
    /// ID set.
    pub id: IdDefinition,
    /// Sets of ID classes with a covariate shift, such as another style, that count as ID: the full spectrum
    /// of OpenOOD. Usually empty.
    pub shifted: Vec<ShiftedDefinition>,
    /// OOD sets, at least one, in the order of the table.
    pub ood: Vec<OodDefinition>,
    /// ID images that scores are fitted to, if the definition has them.
    pub train: Option<TrainDefinition>,
}

impl Benchmark {
    /// Returns whether a set is read from an image list.
    pub fn has_lists(&self) -> bool {
        let shifted = self.shifted.iter().map(|set| &set.source);
        let ood = self.ood.iter().map(|set| &set.source);
        std::iter::once(&self.id.source)
            .chain(shifted)
            .chain(ood)
            .any(|source| matches!(source, SetSource::List { .. }))
    }
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
    /// Number of images of the complete set, if known.
    pub images: Option<usize>,
}

/// Set of ID classes with a covariate shift, of a [`Benchmark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftedDefinition {
    /// Name in tables.
    pub name: String,
    /// Location of the images. Class directories have the names of those of the ID set; other labels
    /// are indices of the ID classes.
    pub source: SetSource,
    /// Number of images of the complete set, if known.
    pub images: Option<usize>,
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
    /// Number of images of the complete set, if known.
    pub images: Option<usize>,
}

/// In-distribution images that scores are fitted to, beside those that are evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainDefinition {
    /// Location of the images.
    pub source: SetSource,
    /// Names of the class directories, or of the labels in the order of the map. Without it,
    /// directories are matched as those of the ID set, and labels are indices of its class names.
    pub map: Option<ClassMapSource>,
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

impl FromStr for OodKind {
    type Err = DatasetError;

    /// Parses `near` or `far`.
    fn from_str(text: &str) -> Result<Self, DatasetError> {
        match text {
            "near" => Ok(Self::Near),
            "far" => Ok(Self::Far),
            _ => Err(DatasetError::UnknownKind {
                name: text.to_string(),
            }),
        }
    }
}

/// Location of a set's images; paths are relative to the data root.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetSource {
    /// A directory with one subdirectory per class or, for an OOD set, any directory of images.
    Directory {
        /// Path of the directory.
        path: PathBuf,
        /// Selection of class directories.
        selection: Selection,
    },
    /// An image list with `path label` on each line.
    List {
        /// Path of the list, relative to [`Benchmark::list_root`].
        path: PathBuf,
        /// Directory that the list's paths are relative to.
        root: PathBuf,
        /// Form of the lines.
        format: ListFormat,
    },
    /// Tar archives with samples as in WebDataset: images and, for an ID set, labels.
    Archives {
        /// Path of an archive or of a directory of archives, or a pattern such as
        /// `val-{000..009}.tar`.
        path: PathBuf,
    },
    /// A table of images and, for an ID set, labels: JSON Lines or, with the feature `parquet`,
    /// Parquet.
    Table {
        /// Path of the table. Paths in it are relative to its directory.
        path: PathBuf,
    },
}

/// Form of the lines of an image list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ListFormat {
    /// `path label`, with the label after the last space.
    #[default]
    LastSpace,
    /// OpenOOD's: the path is what precedes the first space. After it is an integer, or a dictionary in Python's
    /// notation with the key `label`.
    Openood,
}

/// Selection of class directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Map with the roles of the directories.
    pub map: Option<ClassMapSource>,
    /// Roles in the map to select; empty selects all directories.
    pub roles: Vec<String>,
    /// Names of excluded directories.
    pub exclude: Vec<String>,
    /// Whether directories that are missing from the map are skipped, and all of the map required.
    pub mapped_only: bool,
}

/// Source of the ID class names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassSource {
    /// A built-in class list such as `imagenet-1k`. The `k`-th name belongs to label `k` of an image
    /// list, an archive or a table. Class directories, and names of labels in a table, are matched by
    /// name, synset id or number; if they have none of these, the `k`-th name belongs to the `k`-th
    /// directory in sorted order, before any is excluded.
    BuiltIn(String),
    /// The classes of a built-in list that the images of an image list are of: the directory of each image is
    /// the synset id of its class, as in ImageNet. For lists whose labels index a part of the classes.
    BuiltInOfPaths(String),
    /// Names given in the definition, with the same rule as [`BuiltIn`](Self::BuiltIn).
    Inline(ListedClasses),
    /// Names of the directories in a map.
    ClassMap(ClassMapSource),
    /// Names of the directories themselves.
    DirectoryNames,
}
