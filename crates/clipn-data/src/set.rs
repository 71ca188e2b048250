use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// File name extensions taken for images, in lower case; compared whatever their case.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// One image of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where the file lies; need not be valid UTF-8.
    pub path: PathBuf,
    /// Index into the class names; `None` where the class is unknown or does not matter.
    pub label: Option<usize>,
}

/// A named, ordered set of images. The order is fixed by the names of files, not by the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// The name in tables, such as `iNaturalist`.
    pub name: String,
    /// The folder that the samples' paths begin with.
    pub root: PathBuf,
    /// The images, in order.
    pub samples: Vec<Sample>,
    /// Names of the class folders that labels count, `[K]`; empty for an unlabelled set or a list.
    pub folders: Vec<String>,
}

impl ImageSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether the set holds no image; sets read from folders and lists never are.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// A sample's path below [`root`](Self::root), for tables and reports.
    pub fn relative<'a>(&self, sample: &'a Sample) -> &'a Path {
        sample.path.strip_prefix(&self.root).unwrap_or(&sample.path)
    }
}

/// Whether a file name ends in one of [`IMAGE_EXTENSIONS`] and is not hidden (does not begin with a dot).
pub fn is_image_name(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    !is_hidden(name)
        && extension.is_some_and(|e| {
            IMAGE_EXTENSIONS
                .iter()
                .any(|known| e.eq_ignore_ascii_case(known))
        })
}

/// Whether a name begins with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_images_by_name() {
        for name in ["a.jpg", "b.JPEG", "c.tar.PnG", "d.Tiff", "e f.webp"] {
            assert!(is_image_name(name.as_ref()), "{name}");
        }
        for name in [".jpg", "._a.jpg", "a.jpg.txt", "jpg", "a.ppm", "a."] {
            assert!(!is_image_name(name.as_ref()), "{name}");
        }
    }
}
