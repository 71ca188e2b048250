use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::NamedPicture;
use crate::{DatasetError, walk};

/// Every picture below a folder, in any depth, in the order of [`ImageFolder::unlabelled`](crate::ImageFolder).
///
/// The folders are found first; the names in each are read when its turn comes.
#[derive(Debug)]
pub struct FolderPictures {
    pictures: u64,
    folders: std::vec::IntoIter<PathBuf>,
    /// The folder whose pictures are handed out, and their names.
    current: (PathBuf, std::vec::IntoIter<Box<OsStr>>),
}

impl FolderPictures {
    /// Finds the folders below `root` and counts their pictures.
    ///
    /// # Errors
    /// [`DatasetError::NoImages`] where there is none, and whatever keeps a folder from being read.
    pub fn open(root: &Path) -> Result<Self, DatasetError> {
        let above = HashSet::from([walk::real(root)?]);
        let top = walk::count(root)?;
        let mut pictures = top.images as u64;
        let mut other_files = top.other_files;
        let mut folders = Vec::new();
        if pictures > 0 {
            folders.push(root.to_path_buf());
        }
        for class in top.folders {
            for (path, counted) in walk::folders(&class, &above)? {
                pictures += counted.images as u64;
                other_files += counted.other_files;
                if counted.images > 0 {
                    folders.push(path);
                }
            }
        }
        if pictures == 0 {
            return Err(DatasetError::NoImages {
                path: root.to_path_buf(),
                other_files,
            });
        }
        Ok(Self {
            pictures,
            folders: folders.into_iter(),
            current: Default::default(),
        })
    }

    /// How many pictures there were when the folders were found.
    pub fn total(&self) -> u64 {
        self.pictures
    }
}

impl Iterator for FolderPictures {
    type Item = NamedPicture;

    fn next(&mut self) -> Option<NamedPicture> {
        loop {
            let (folder, names) = &mut self.current;
            if let Some(name) = names.next() {
                return Some(NamedPicture::file(folder.join(&*name)));
            }
            let folder = self.folders.next()?;
            match walk::image_names(&folder) {
                Ok(names) => self.current = (folder, names.into_iter()),
                Err(error) => {
                    let name = folder.display().to_string();
                    return Some(NamedPicture::lost(
                        name,
                        std::io::Error::other(error.to_string()),
                    ));
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
    fn pictures_come_in_the_order_of_the_whole_set() {
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
            .unlabelled("x")
            .unwrap();
        let expected: Vec<String> = set
            .samples
            .iter()
            .map(|s| s.path.display().to_string())
            .collect();
        let pictures = FolderPictures::open(folder.path()).unwrap();
        assert_eq!(pictures.total(), 7);
        assert_eq!(
            pictures.map(|picture| picture.name).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_folder_without_pictures_is_refused_and_one_that_goes_away_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(
            FolderPictures::open(root.path()),
            Err(DatasetError::NoImages { .. })
        ));
        let inner = root.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("a.jpg"), "").unwrap();
        std::fs::write(root.path().join("b.jpg"), "").unwrap();
        let pictures = FolderPictures::open(root.path()).unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        let names: Vec<_> = pictures.map(|picture| picture.name).collect();
        assert_eq!(names.len(), 2);
        assert!(
            names[0].ends_with("b.jpg") && names[1].ends_with("inner"),
            "{names:?}"
        );
    }
}
