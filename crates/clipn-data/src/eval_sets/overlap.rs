//! Images that are in two sets, by their paths.

use std::collections::{HashMap, HashSet};
use std::fs::canonicalize;
use std::path::{Path, PathBuf};

use crate::eval_sets::ImageSet;

/// Paths of the images of a set, to find those that other sets have too.
///
/// Two paths are equal if they lead to the same directory entry, or to the same name in an archive or row of a
/// table; copies of an image are different images.
///
/// ```
/// use clipn_data::{ImagePaths, read_path_list};
///
/// let folder = tempfile::tempdir()?;
/// let list = |name: &str, lines: &str| {
///     let path = folder.path().join(name);
///     std::fs::write(&path, lines).map(|()| path)
/// };
/// let id = read_path_list("id", list("id.txt", "a.jpg\nb.jpg\n")?, folder.path())?;
/// let ood = read_path_list("ood", list("ood.txt", "b.jpg\nc.jpg\n")?, folder.path())?;
/// let shared = ImagePaths::of(&id).shared_paths(ood.paths());
/// assert_eq!(shared.len(), 1);
/// assert!(shared[0].ends_with("b.jpg"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImagePaths(HashSet<PathBuf>);

impl ImagePaths {
    /// Collects the paths of a set.
    pub fn of(set: &ImageSet) -> Self {
        Self::of_paths(set.paths())
    }

    /// Collects paths.
    pub fn of_paths(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let mut directories = Directories::default();
        let paths = paths.into_iter();
        Self(
            paths
                .map(|path| directories.resolve(path.as_ref()))
                .collect(),
        )
    }

    /// Returns those of these paths that are in this set too, in their order.
    pub fn shared_paths<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Vec<&'a Path> {
        let mut directories = Directories::default();
        paths
            .into_iter()
            .filter(|path| self.0.contains(&directories.resolve(path)))
            .collect()
    }
}

/// Real paths of directories, each looked up once.
#[derive(Default)]
struct Directories(HashMap<PathBuf, PathBuf>);

impl Directories {
    fn resolve(&mut self, path: &Path) -> PathBuf {
        let parent = path.parent().unwrap_or(Path::new(""));
        let real = match self.0.get(parent) {
            Some(real) => real,
            None => self
                .0
                .entry(parent.to_owned())
                .or_insert(real_directory(parent)),
        };
        real.join(path.file_name().unwrap_or_default())
    }
}

/// The real path of a directory. In an archive, only that of the archive is one.
fn real_directory(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        let existing = match ancestor {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            other => other,
        };
        if let (Ok(real), Ok(rest)) = (canonicalize(existing), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval_sets::LabeledImage;

    fn set(root: &Path, names: &[&str]) -> ImageSet {
        let sample = |name: &&str| LabeledImage {
            path: root.join(name),
            label: None,
        };
        ImageSet {
            root: root.to_owned(),
            samples: names.iter().map(sample).collect(),
            ..ImageSet::default()
        }
    }

    #[test]
    fn paths_that_lead_to_the_same_image_are_equal() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/x.tar"), "").unwrap();
        let id = ImagePaths::of(&set(root, &["a/1.jpg", "a/x.tar/d/2.jpg", "t.parquet:3"]));
        let other = set(
            root,
            &[
                "a/b/../1.jpg",
                "a/./x.tar/d/2.jpg",
                "a/b/1.jpg",
                "t.parquet:3",
            ],
        );
        let shared: Vec<&Path> = id.shared_paths(other.paths());
        assert_eq!(
            shared,
            ["a/b/../1.jpg", "a/./x.tar/d/2.jpg", "t.parquet:3"].map(|name| root.join(name))
        );
        assert!(id.shared_paths(set(root, &["b.jpg"]).paths()).is_empty());
    }
}
