use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Extensions of image files, in lower case. The comparison ignores case.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// An image of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path of the file; not necessarily valid UTF-8.
    pub path: PathBuf,
    /// Index of the class name; `None` if the class is unknown or irrelevant.
    pub label: Option<usize>,
}

/// A named, ordered set of images. The order depends on the file names, not on the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// Name in tables, such as `iNaturalist`.
    pub name: String,
    /// Directory that all paths of samples start with.
    pub root: PathBuf,
    /// Images, in order.
    pub samples: Vec<Sample>,
    /// Names of the class directories by label, `[K]`; empty for an unlabeled set or a list.
    pub folders: Vec<String>,
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

    /// Returns a sample's path relative to [`root`](Self::root), for tables and reports.
    pub fn relative<'a>(&self, sample: &'a Sample) -> &'a Path {
        sample.path.strip_prefix(&self.root).unwrap_or(&sample.path)
    }
}

/// Returns whether a file name has one of [`IMAGE_EXTENSIONS`] and is not hidden (does not start
/// with a dot).
pub fn is_image_name(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    !is_hidden(name)
        && extension.is_some_and(|e| {
            IMAGE_EXTENSIONS
                .iter()
                .any(|known| e.eq_ignore_ascii_case(known))
        })
}

/// Returns whether a name starts with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_images_by_extension() {
        for name in ["a.jpg", "b.JPEG", "c.tar.PnG", "d.Tiff", "e f.webp"] {
            assert!(is_image_name(name.as_ref()), "{name}");
        }
        for name in [".jpg", "._a.jpg", "a.jpg.txt", "jpg", "a.ppm", "a."] {
            assert!(!is_image_name(name.as_ref()), "{name}");
        }
    }
}
