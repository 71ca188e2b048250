use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::NamedImage;
use crate::{DatasetError, walk};

/// Iterator over all images below a directory at any depth, in the order of
/// [`ImageFolder::unlabeled`](crate::ImageFolder::unlabeled).
///
/// The directories are found first; the names in each are read when the iterator reaches it.
#[derive(Debug)]
pub struct FolderImages {
    images: u64,
    folders: std::vec::IntoIter<PathBuf>,
    /// Current directory and the remaining names in it.
    current: (PathBuf, std::vec::IntoIter<Box<OsStr>>),
}

impl FolderImages {
    /// Finds the directories below `root` and counts their images.
    ///
    /// # Errors
    /// [`DatasetError::NoImages`] if there are no images, or an I/O error of a directory.
    pub fn open(root: &Path) -> Result<Self, DatasetError> {
        let above = HashSet::from([walk::real(root)?]);
        let top = walk::count(root)?;
        let mut images = top.images as u64;
        let mut other_files = top.other_files;
        let mut folders = Vec::new();
        if images > 0 {
            folders.push(root.to_path_buf());
        }
        for class in top.folders {
            for (path, counted) in walk::folders(&class, &above)? {
                images += counted.images as u64;
                other_files += counted.other_files;
                if counted.images > 0 {
                    folders.push(path);
                }
            }
        }
        if images == 0 {
            return Err(DatasetError::NoImages {
                path: root.to_path_buf(),
                other_files,
            });
        }
        Ok(Self {
            images,
            folders: folders.into_iter(),
            current: Default::default(),
        })
    }

    /// Returns the number of images found by [`open`](Self::open).
    pub fn total(&self) -> u64 {
        self.images
    }
}

impl Iterator for FolderImages {
    type Item = NamedImage;

    fn next(&mut self) -> Option<NamedImage> {
        loop {
            let (folder, names) = &mut self.current;
            if let Some(name) = names.next() {
                return Some(NamedImage::file(folder.join(&*name)));
            }
            let folder = self.folders.next()?;
            match walk::image_names(&folder) {
                Ok(names) => self.current = (folder, names.into_iter()),
                Err(error) => {
                    let name = folder.display().to_string();
                    return Some(NamedImage::lost(name, std::io::Error::other(error)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageFolder;

    #[test]
    fn images_have_the_order_of_an_image_folder() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "z.jpg",
            "a.png",
            "b/c/1.jpg",
            "b/2.jpg",
            "b-x/3.jpg",
            "b/c-d/4.jpg",
            "b/c/e/5.jpg",
            "n.txt",
        ];
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let set = ImageFolder::read(folder.path())
            .unwrap()
            .unlabeled("x")
            .unwrap();
        let expected: Vec<String> = set
            .samples
            .iter()
            .map(|s| s.path.display().to_string())
            .collect();
        let images = FolderImages::open(folder.path()).unwrap();
        assert_eq!(images.total(), 7);
        assert_eq!(images.map(|image| image.name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rejects_a_directory_without_images_and_reports_one_that_disappears() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(
            FolderImages::open(root.path()),
            Err(DatasetError::NoImages { .. })
        ));
        let inner = root.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("a.jpg"), "").unwrap();
        std::fs::write(root.path().join("b.jpg"), "").unwrap();
        let images = FolderImages::open(root.path()).unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        let names: Vec<_> = images.map(|image| image.name).collect();
        assert_eq!(names.len(), 2);
        assert!(
            names[0].ends_with("b.jpg") && names[1].ends_with("inner"),
            "{names:?}"
        );
    }
}
