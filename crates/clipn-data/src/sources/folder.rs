use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::DatasetError;
use crate::skipped_files::SkippedFiles;
use crate::sources::NamedImage;
use crate::walk::{canonicalize, list_directory, walk_images};

/// Iterator over all images below a directory at any depth, in the order of
/// [`ImageFolder::unlabeled`](crate::ImageFolder::unlabeled).
///
/// The directories are found first; the names in each are read again when the iterator reaches it.
#[derive(Debug)]
pub struct FolderImages {
    total: u64,
    skipped: SkippedFiles,
    directories: std::vec::IntoIter<PathBuf>,
    /// Remaining images of the current directory.
    current: std::vec::IntoIter<PathBuf>,
}

impl FolderImages {
    /// Finds the directories below `root` and counts their images.
    ///
    /// # Errors
    /// [`DatasetError::NoImages`] if there are no images, or an I/O error of a directory.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DatasetError> {
        let root = root.as_ref();
        let above = HashSet::from([canonicalize(root)?]);
        let top = list_directory(root)?;
        let mut total = top.images.len() as u64;
        let mut skipped = top.skipped;
        let mut directories = Vec::new();
        if total > 0 {
            directories.push(root.to_path_buf());
        }
        for class in top.directories {
            let tree = walk_images(&class, &above, |images: &mut u64, _| *images += 1)?;
            skipped.merge(&tree.skipped);
            total += tree.directories.values().sum::<u64>();
            directories.extend(tree.directories.into_keys().map(PathBuf::from));
        }
        if total == 0 {
            return Err(DatasetError::NoImages {
                path: root.to_path_buf(),
                skipped,
            });
        }
        Ok(Self {
            total,
            skipped,
            directories: directories.into_iter(),
            current: Vec::new().into_iter(),
        })
    }

    /// Returns the number of images found by [`open`](Self::open).
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the files that [`open`](Self::open) skipped because they are no images.
    pub fn skipped(&self) -> &SkippedFiles {
        &self.skipped
    }
}

impl Iterator for FolderImages {
    type Item = NamedImage;

    fn next(&mut self) -> Option<NamedImage> {
        loop {
            if let Some(path) = self.current.next() {
                return Some(NamedImage::from_path(path));
            }
            let directory = self.directories.next()?;
            match list_directory(&directory) {
                Ok(listing) => self.current = listing.images.into_iter(),
                Err(error) => {
                    let name = directory.display().to_string();
                    return Some(NamedImage::lost(name, 0, std::io::Error::other(error)));
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
            "b/.ipynb_checkpoints/6.jpg",
            "b/Thumbs.db",
            "__MACOSX/7.jpg",
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
        assert_eq!(images.skipped().to_string(), ".txt 1");
        assert_eq!(images.map(|image| image.name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_content_decides_without_an_extension() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 6] = [
            ("0a1b", b"\xFF\xD8\xFF\xE0"),
            ("c/heic", b"\0\0\0\x20ftypheic"),
            ("c/readme", b"These are photos."),
            ("c/x.heic", b""),
            ("c/x.jfif", b""),
            ("c/x.svg", b"<svg>"),
        ];
        for (file, content) in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let images = FolderImages::open(folder.path()).unwrap();
        assert_eq!(images.total(), 4);
        assert_eq!(images.skipped().to_string(), ".svg 1, no extension 1");
        let root = folder.path().display().to_string();
        let names = images.map(|image| image.name.replace(&root, ""));
        let names: Vec<_> = names.map(|name| name.replace('\\', "/")).collect();
        assert_eq!(names, ["/0a1b", "/c/heic", "/c/x.heic", "/c/x.jfif"]);
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
