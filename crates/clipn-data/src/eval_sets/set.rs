use std::path::{Path, PathBuf};

use crate::eval_sets::SetImages;
use crate::skipped_files::SkippedFiles;

/// An image of an [`ImageSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabeledImage {
    /// Path of the file, that of the archive and the name in it, or `TABLE:ROW` of an image embedded in
    /// a table; not necessarily valid UTF-8.
    pub path: PathBuf,
    /// Index of the class name; `None` if the class is unknown or irrelevant.
    pub label: Option<usize>,
}

/// A named, ordered set of images. The order depends on the file names, not on the file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageSet {
    /// Name in tables, such as `iNaturalist`.
    pub name: String,
    /// Directory that all paths of samples start with.
    pub root: PathBuf,
    /// Images, in order.
    pub samples: Vec<LabeledImage>,
    /// Names of the class directories, or of the labels of a table, by label, `[K]`; empty for an
    /// unlabeled set, a list, or labels without names.
    pub class_directories: Vec<String>,
    /// Files and samples that were skipped because they are no images; empty for a list.
    pub skipped: SkippedFiles,
    /// Archives with the images, in order; empty if the images are files.
    pub archives: Vec<PathBuf>,
    /// Table with the images; `None` for other sets.
    pub table: Option<PathBuf>,
}

impl ImageSet {
    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns whether there are no images; sets read from directories and lists are never empty.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Paths of the samples, in their order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.samples.iter().map(|sample| sample.path.as_path())
    }

    /// Iterates over the images with their contents, in the order of the samples. Archives and
    /// tables are read as streams.
    pub fn images(&self) -> SetImages<'_> {
        SetImages::new(self)
    }

    /// Returns a sample's path relative to [`root`](Self::root), for tables and reports.
    pub fn relative<'a>(&self, sample: &'a LabeledImage) -> &'a Path {
        sample.path.strip_prefix(&self.root).unwrap_or(&sample.path)
    }
}
