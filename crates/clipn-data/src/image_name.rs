use std::ffi::OsStr;
use std::path::Path;

/// Extensions of image files, in lower case. The comparison ignores case.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

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
pub(crate) fn is_hidden(name: &OsStr) -> bool {
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
