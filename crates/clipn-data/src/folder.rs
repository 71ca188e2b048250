use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::walk::{self, Walked};
use super::{DatasetError, ImageSet, Sample};

/// One class of an [`ImageFolder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassFolder {
    /// The folder's name; what is not UTF-8 in it shows as `�`.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
}

/// A folder of images in torchvision's `ImageFolder` layout, one folder a class, or a flat folder of images.
///
/// Class folders stand in the byte order of their names (Python's `sorted`); images may lie in any depth below them and
/// follow the order of torchvision's `make_dataset`. Hidden files and folders are skipped, links are followed, and
/// loops of links end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// The folder itself.
    pub root: PathBuf,
    /// The class folders, sorted; remove some to leave them out.
    pub classes: Vec<ClassFolder>,
    /// Images that lie beside the class folders, sorted.
    loose: Vec<PathBuf>,
    other_files: usize,
}

impl ImageFolder {
    /// Reads the top level of `root`; what lies below is read by [`labelled`](Self::labelled) and
    /// [`unlabelled`](Self::unlabelled).
    ///
    /// # Errors
    /// When `root` is not there, is no folder, or may not be read.
    pub fn read(root: &Path) -> Result<Self, DatasetError> {
        let listing = walk::list(root)?;
        let class = |path: PathBuf| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            ClassFolder {
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

    /// The set in which label `k` is the `k`-th class folder. Images beside the class folders are left out.
    ///
    /// # Errors
    /// [`DatasetError::NoClassFolders`] where there are none, [`DatasetError::NoImages`] for a class without images,
    /// and whatever keeps a folder from being read.
    pub fn labelled(&self, name: &str) -> Result<ImageSet, DatasetError> {
        if self.classes.is_empty() {
            return Err(DatasetError::NoClassFolders {
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

    /// The set of every image below, without labels: those beside the class folders first, then class by class.
    ///
    /// # Errors
    /// [`DatasetError::NoImages`] where there is none, and whatever keeps a folder from being read.
    pub fn unlabelled(&self, name: &str) -> Result<ImageSet, DatasetError> {
        let above = HashSet::from([walk::real(&self.root)?]);
        let mut all = Walked {
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

    /// Leaves out images that lie beside the class folders, for a set that is chosen by its classes.
    pub(super) fn drop_loose(&mut self) {
        self.loose.clear();
        self.other_files = 0;
    }
}
