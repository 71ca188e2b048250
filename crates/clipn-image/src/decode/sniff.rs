//! Format detection from the first bytes of a file.
use super::pnm;
use crate::error::GIT_LFS_POINTER;

/// Number of bytes at the start of a file that [`is_image_start`] needs.
pub const IMAGE_START_BYTES: usize = 32;

/// Whether a file that starts with these bytes is an image: one that can be decoded, or one of
/// another image format, whose decoding is an error that names the format.
///
/// For files without an extension. The first [`IMAGE_START_BYTES`] bytes are enough.
///
/// ```
/// use clipn_image::is_image_start;
///
/// assert!(is_image_start(b"\xFF\xD8\xFF\xE0"));
/// assert!(is_image_start(b"\0\0\0\x20ftypavif"));
/// assert!(!is_image_start(b"These are notes."));
/// ```
#[must_use]
pub fn is_image_start(start: &[u8]) -> bool {
    detect_format(start).is_some() || other_image(start).is_some()
}

/// Supported image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    WebP,
    Bmp,
    Gif,
    Tiff,
    Pnm,
    Qoi,
}

impl Format {
    /// Name of the format in error messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
            Self::Qoi => "QOI",
        }
    }
}

/// Detects the format from the magic number; `None` if it is not supported.
pub(super) fn detect_format(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Format::Png),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some(Format::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Format::Tiff),
        [b'B', b'M', ..] if is_bmp(bytes) => Some(Format::Bmp),
        [b'q', b'o', b'i', b'f', ..] => Some(Format::Qoi),
        _ if pnm::is_pnm(bytes) => Some(Format::Pnm),
        _ => None,
    }
}

/// Checks the header size at byte 14: text may start with "BM" too, but has no such size there.
fn is_bmp(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(14..18),
        Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
    )
}

/// Names an image format that is recognized but not decoded.
fn other_image(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.first_chunk::<4>()? {
            b"avif" | b"avis" => Some("an AVIF image"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("a HEIC image"),
            // Which codec the image has is said by the brands after this one.
            b"mif1" | b"msf1" if brand.windows(4).any(|other| other == b"avif") => {
                Some("an AVIF image")
            }
            b"mif1" | b"msf1" => Some("a HEIC image"),
            _ => None,
        },
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => Some("a JPEG XL image"),
        [0, 0, 0, 12, b'j', b'P', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => Some("a JPEG 2000 image"),
        _ => None,
    }
}

/// Describes bytes of an unsupported format, for an error message.
pub(super) fn detected_content(bytes: &[u8]) -> &'static str {
    if let Some(image) = other_image(bytes) {
        return image;
    }
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a video",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop document",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [0x1F, 0x8B, ..] => "a gzip archive",
        [b'P', b'7' | b'f' | b'F', b'\n' | b'\r', ..] => "a PAM or PFM image",
        _ => looks_like_text(&bytes[..bytes.len().min(512)]),
    }
}

/// Distinguishes kinds of text from binary data.
fn looks_like_text(start: &[u8]) -> &'static str {
    let text = match std::str::from_utf8(start) {
        Ok(valid) => valid,
        // A character cut off at the end of the sample is still text.
        Err(error) if error.valid_up_to() + 4 > start.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return "unrecognized data",
    };
    if text.is_empty()
        || text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
    {
        return "unrecognized data";
    }
    let lower = text
        .trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t'])
        .to_ascii_lowercase();
    if lower.starts_with("<svg") || (lower.starts_with("<?xml") && lower.contains("<svg")) {
        "an SVG drawing"
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "a web page"
    } else if lower.starts_with("version https://git-lfs") {
        GIT_LFS_POINTER
    } else {
        "a text file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_formats_from_content() {
        assert_eq!(detect_format(b"\xFF\xD8\xFF\xE0"), Some(Format::Jpeg));
        assert_eq!(detect_format(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::WebP));
        assert_eq!(detect_format(b"RIFF\0\0\0\0WAVEfmt "), None);
        assert_eq!(detect_format(b"BMW is a maker of cars"), None);
        assert_eq!(detect_format(b"MM\0*"), Some(Format::Tiff));
        assert_eq!(detect_format(b"GIF88a"), None);
        assert_eq!(detect_format(b"qoif"), Some(Format::Qoi));
        assert_eq!(detect_format(b"P6#\n"), Some(Format::Pnm));
        assert_eq!(detect_format(b"P45 is a road"), None);
    }

    #[test]
    fn describes_what_is_not_an_image() {
        assert_eq!(detected_content(b"name,label\n1,2\n"), "a text file");
        assert_eq!(detected_content("é".repeat(300).as_bytes()), "a text file");
        assert_eq!(detected_content(b"<!DOCTYPE html><html>"), "a web page");
        assert_eq!(
            detected_content(b"<?xml version='1.0'?><svg>"),
            "an SVG drawing"
        );
        assert_eq!(detected_content(b"%PDF-1.4"), "a PDF document");
        assert_eq!(detected_content(b"\0\0\0\x20ftypavif"), "an AVIF image");
        assert_eq!(detected_content(b"\0\0\0\x20ftypheic"), "a HEIC image");
        assert_eq!(
            detected_content(b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif"),
            "an AVIF image"
        );
        assert_eq!(detected_content(b"\0\0\0\x20ftypmp42"), "a video");
        assert_eq!(detected_content(b"P7\nWIDTH 1"), "a PAM or PFM image");
        assert_eq!(detected_content(&[0, 1, 2, 3]), "unrecognized data");
        assert_eq!(detected_content(&[0xFF]), "unrecognized data");
    }
}
