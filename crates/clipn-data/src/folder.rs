use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::walk::{self, ImageFiles};
use super::{DatasetError, ImageSet, Sample};

/// Class directory of an [`ImageFolder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassDirectory {
    /// Name of the directory; invalid UTF-8 is replaced by `�`.
    pub name: String,
    /// Path of the directory.
    pub path: PathBuf,
}

/// Directory of images in torchvision's `ImageFolder` layout, with one subdirectory per class, or
/// without subdirectories.
///
/// Class directories are in the byte order of their names, as in Python's `sorted`. Images may be
/// at any depth below them and are in the order of torchvision's `make_dataset`. Hidden files and
/// directories are skipped. Links are followed, and cycles of links are detected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// Path of the directory.
    pub root: PathBuf,
    /// Class directories, sorted; remove some to exclude them.
    pub classes: Vec<ClassDirectory>,
    /// Images beside the class directories, sorted.
    loose: Vec<PathBuf>,
    other_files: usize,
}

impl ImageFolder {
    /// Lists the top level of `root`. The levels below are read by [`labelled`](Self::labelled) and
    /// [`unlabeled`](Self::unlabeled).
    ///
    /// # Errors
    /// [`DatasetError::Missing`], [`DatasetError::NotADirectory`], [`DatasetError::Permission`] or
    /// [`DatasetError::Io`] if `root` cannot be read as a directory.
    pub fn read(root: &Path) -> Result<Self, DatasetError> {
        let listing = walk::list(root)?;
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
            classes: listing.folders.into_iter().map(class).collect(),
            loose: listing.images,
            other_files: listing.other_files,
        })
    }

    /// Returns the set in which label `k` is the `k`-th class directory. Images beside the class
    /// directories are excluded.
    ///
    /// # Errors
    /// [`DatasetError::NoClassDirectories`] if there are no class directories,
    /// [`DatasetError::NoImages`] if a class has no images, or an I/O error of a directory.
    pub fn labelled(&self, name: &str) -> Result<ImageSet, DatasetError> {
        if self.classes.is_empty() {
            return Err(DatasetError::NoClassDirectories {
                path: self.root.clone(),
            });
        }
        let above = HashSet::from([walk::real(&self.root)?]);
        let mut samples = Vec::new();
        for (label, class) in self.classes.iter().enumerate() {
            let walked = walk::walk(&class.path, &above)?;
            if walked.images.is_empty() {
                return Err(DatasetError::NoImages {
                    path: class.path.clone(),
                    other_files: walked.other_files,
                });
            }
            samples.extend(walked.images.into_iter().map(|path| Sample {
                path,
                label: Some(label),
            }));
        }
        let folders = self
            .classes
            .iter()
            .map(|class| class.name.clone())
            .collect();
        Ok(ImageSet {
            name: name.to_string(),
            root: self.root.clone(),
            samples,
            folders,
        })
    }

    /// Returns the set of all images without labels: those beside the class directories first, then
    /// class by class.
    ///
    /// # Errors
    /// [`DatasetError::NoImages`] if there are no images, or an I/O error of a directory.
    pub fn unlabeled(&self, name: &str) -> Result<ImageSet, DatasetError> {
        let above = HashSet::from([walk::real(&self.root)?]);
        let mut all = ImageFiles {
            images: self.loose.clone(),
            other_files: self.other_files,
        };
        for class in &self.classes {
            let walked = walk::walk(&class.path, &above)?;
            all.images.extend(walked.images);
            all.other_files += walked.other_files;
        }
        if all.images.is_empty() {
            return Err(DatasetError::NoImages {
                path: self.root.clone(),
                other_files: all.other_files,
            });
        }
        let samples = all
            .images
            .into_iter()
            .map(|path| Sample { path, label: None })
            .collect();
        Ok(ImageSet {
            name: name.to_string(),
            root: self.root.clone(),
            samples,
            folders: Vec::new(),
        })
    }

    /// Excludes the images beside the class directories, for a set that is selected by class.
    pub(super) fn exclude_loose_images(&mut self) {
        self.loose.clear();
        self.other_files = 0;
    }
}
