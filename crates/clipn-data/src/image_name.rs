use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use clipn_image::{IMAGE_START_BYTES, is_image_start};

/// Extensions of image files that can be decoded, in lower case. The comparison ignores case.
pub const IMAGE_EXTENSIONS: [&str; 19] = [
    "jpg", "jpeg", "jpe", "jfif", "pjpeg", "pjp", "png", "apng", "webp", "bmp", "dib", "gif",
    "tif", "tiff", "pbm", "pgm", "ppm", "pnm", "qoi",
];

/// Extensions of image files that cannot be decoded, in lower case. Such a file is an image with an
/// error that names its format, rather than skipped.
pub const UNREADABLE_IMAGE_EXTENSIONS: [&str; 10] = [
    "avif", "avifs", "heic", "heif", "hif", "jxl", "jp2", "j2k", "jpx", "jls",
];

/// Names of files and directories that systems leave behind; no images of the user.
const SYSTEM_NAMES: [&str; 6] = [
    "thumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
];

/// What a file is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// Hidden, or left behind by a system: skipped without being counted.
    Ignored,
    /// An image, by its extension.
    Image,
    /// No extension: the first bytes of the file show whether it is an image.
    NoExtension,
    /// Another file.
    Other,
}

impl NameKind {
    /// Returns the kind of a file with this name.
    pub fn from_name(name: &OsStr) -> Self {
        if is_ignored_name(name) {
            return Self::Ignored;
        }
        let extension = Path::new(name).extension();
        let Some(extension) = extension.filter(|extension| !extension.is_empty()) else {
            return Self::NoExtension;
        };
        let is_known = IMAGE_EXTENSIONS
            .iter()
            .chain(&UNREADABLE_IMAGE_EXTENSIONS)
            .any(|known| extension.eq_ignore_ascii_case(known));
        if is_known { Self::Image } else { Self::Other }
    }

    /// Returns the kind of a path in an archive or a bucket, with `/` between its parts, whose directories may
    /// be ignored, too.
    pub fn from_member_path(path: &str) -> Self {
        // `..` is a place, and no hidden name; members are only read.
        let parts = || {
            path.split('/')
                .filter(|part| !matches!(*part, "" | "." | ".."))
        };
        if parts().any(|part| is_ignored_name(part.as_ref())) {
            return Self::Ignored;
        }
        Self::from_name(parts().next_back().unwrap_or_default().as_ref())
    }
}

/// Returns whether a file name has one of [`IMAGE_EXTENSIONS`] or [`UNREADABLE_IMAGE_EXTENSIONS`]
/// and is not hidden (does not start with a dot).
pub fn is_image_name(name: &OsStr) -> bool {
    NameKind::from_name(name) == NameKind::Image
}

/// Returns whether a file or directory is ignored in every search for images: its name starts with
/// a dot (`.DS_Store`, `.ipynb_checkpoints`), or is one that systems leave behind (`Thumbs.db`,
/// `desktop.ini`, `__MACOSX`, `@eaDir`, `$RECYCLE.BIN`, `System Volume Information`).
pub fn is_ignored_name(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
        || SYSTEM_NAMES
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
}

/// Returns whether the first bytes of a file are those of an image; `false` if it cannot be read.
pub(crate) fn has_image_start(path: &Path) -> bool {
    let mut start = Vec::with_capacity(IMAGE_START_BYTES);
    let read = File::open(path)
        .and_then(|file| file.take(IMAGE_START_BYTES as u64).read_to_end(&mut start));
    read.is_ok() && is_image_start(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_images_by_extension() {
        for name in [
            "a.jpg",
            "b.JPEG",
            "c.tar.PnG",
            "d.Tiff",
            "e f.webp",
            "g.jfif",
            "h.JPE",
            "i.pjpeg",
            "j.ppm",
            "k.HEIC",
            "l.avif",
        ] {
            assert!(is_image_name(name.as_ref()), "{name}");
        }
        for name in [".jpg", "._a.jpg", "a.jpg.txt", "jpg", "a.svg", "a."] {
            assert!(!is_image_name(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn members_of_ignored_directories_are_ignored() {
        let cases = [
            ("./a/b.jpg", NameKind::Image),
            ("../a/b.jpg", NameKind::Image),
            ("a/../b.jpg", NameKind::Image),
            ("../.a/b.jpg", NameKind::Ignored),
            ("__MACOSX/a/b.jpg", NameKind::Ignored),
            ("a/.hidden/b.jpg", NameKind::Ignored),
            ("a/Thumbs.db", NameKind::Ignored),
            ("a.d/0a1b", NameKind::NoExtension),
            ("a/b.txt", NameKind::Other),
        ];
        for (path, kind) in cases {
            assert_eq!(NameKind::from_member_path(path), kind, "{path}");
        }
    }
}
