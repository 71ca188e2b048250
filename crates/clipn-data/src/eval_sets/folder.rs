use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::DatasetError;
use crate::eval_sets::{ImageSet, LabeledImage};
use crate::skipped_files::SkippedFiles;
use crate::walk::{ImageTree, canonicalize, list_directory, walk_images};

/// Class directory of an [`ImageFolder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassDirectory {
    /// Name of the directory; invalid UTF-8 is replaced by `�`.
    pub name: String,
    /// Path of the directory.
    pub path: PathBuf,
}

impl ClassDirectory {
    /// Returns the images at any depth; those in `above` are not entered.
    fn images(&self, above: &HashSet<PathBuf>) -> Result<ImageTree<Vec<PathBuf>>, DatasetError> {
        walk_images(&self.path, above, |images: &mut Vec<PathBuf>, path| {
            images.push(path);
        })
    }
}

/// Directory of images in torchvision's `ImageFolder` layout, with one subdirectory per class, or
/// without subdirectories.
///
/// Class directories are in the byte order of their names, as in Python's `sorted`. Images may be
/// at any depth below them and are in the order of torchvision's `make_dataset`. Hidden files and
/// directories are ignored ([`is_ignored_name`](crate::is_ignored_name)). Links are followed, and cycles of links are detected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// Path of the directory.
    pub root: PathBuf,
    /// Class directories, sorted; remove some to exclude them.
    pub classes: Vec<ClassDirectory>,
    /// Images beside the class directories, sorted.
    loose: Vec<PathBuf>,
    /// Files at the top level that are no images.
    skipped: SkippedFiles,
}

impl ImageFolder {
    /// Lists the top level of `root`. The levels below are read by [`labeled`](Self::labeled) and
    /// [`unlabeled`](Self::unlabeled).
    ///
    /// # Errors
    /// [`DatasetError::Missing`], [`DatasetError::NotADirectory`], [`DatasetError::Permission`] or
    /// [`DatasetError::Io`] if `root` cannot be read as a directory.
    pub fn read(root: impl AsRef<Path>) -> Result<Self, DatasetError> {
        let root = root.as_ref();
        let listing = list_directory(root)?;
        let class = |path: PathBuf| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            ClassDirectory {
                name: name.unwrap_or_default(),
                path,
            }
        };
        Ok(Self {
            root: root.to_path_buf(),
            classes: listing.directories.into_iter().map(class).collect(),
            loose: listing.images,
            skipped: listing.skipped,
        })
    }

    /// Returns the set in which label `k` is the `k`-th class directory. Images beside the class
    /// directories are excluded and counted as skipped.
    ///
    /// # Errors
    /// [`DatasetError::NoClassDirectories`] if there are no class directories,
    /// [`DatasetError::NoImages`] if a class has no images, or an I/O error of a directory.
    pub fn labeled(&self, name: &str) -> Result<ImageSet, DatasetError> {
        if self.classes.is_empty() {
            return Err(DatasetError::NoClassDirectories {
                path: self.root.clone(),
            });
        }
        let above = HashSet::from([canonicalize(&self.root)?]);
        let mut samples = Vec::new();
        let mut skipped = self.skipped.clone();
        skipped.add_outside_classes(self.loose.len());
        for (label, class) in self.classes.iter().enumerate() {
            let tree = class.images(&above)?;
            if tree.directories.is_empty() {
                return Err(DatasetError::NoImages {
                    path: class.path.clone(),
                    skipped: tree.skipped,
                });
            }
            skipped.merge(&tree.skipped);
            let images = tree.directories.into_values().flatten();
            samples.extend(images.map(|path| LabeledImage {
                path,
                label: Some(label),
            }));
        }
        let class_directories = self
            .classes
            .iter()
            .map(|class| class.name.clone())
            .collect();
        Ok(ImageSet {
            name: name.to_string(),
            root: self.root.clone(),
            samples,
            class_directories,
            skipped,
            ..ImageSet::default()
        })
    }

    /// Returns the set of all images without labels: those beside the class directories first, then
    /// class by class.
    ///
    /// # Errors
    /// [`DatasetError::NoImages`] if there are no images, or an I/O error of a directory.
    pub fn unlabeled(&self, name: &str) -> Result<ImageSet, DatasetError> {
        let above = HashSet::from([canonicalize(&self.root)?]);
        let mut images = self.loose.clone();
        let mut skipped = self.skipped.clone();
        for class in &self.classes {
            let tree = class.images(&above)?;
            images.extend(tree.directories.into_values().flatten());
            skipped.merge(&tree.skipped);
        }
        if images.is_empty() {
            return Err(DatasetError::NoImages {
                path: self.root.clone(),
                skipped,
            });
        }
        let samples = images
            .into_iter()
            .map(|path| LabeledImage { path, label: None })
            .collect();
        Ok(ImageSet {
            name: name.to_string(),
            root: self.root.clone(),
            samples,
            skipped,
            ..ImageSet::default()
        })
    }

    /// Excludes the images beside the class directories, for a set that is selected by class.
    pub(super) fn exclude_loose_images(&mut self) {
        self.skipped.add_outside_classes(self.loose.len());
        self.loose.clear();
    }
}
