//! Format detection from the first bytes of a file.
use clipn_base::content::ContentKind;

use super::pnm;

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
    detect_format(start).is_some() || ContentKind::detect(start).is_image()
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

/// Describes bytes of an unsupported format, for an error message.
pub(super) fn detected_content(bytes: &[u8]) -> &'static str {
    ContentKind::detect(bytes).name()
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
        assert_eq!(detected_content(b"<!DOCTYPE html><html>"), "an HTML page");
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
        assert_eq!(
            detected_content(b"\0\0\x01\0\x02\0\x10\x10"),
            "a Windows icon"
        );
        assert_eq!(detected_content(b"DDS |\0\0\0"), "a DDS texture");
        assert_eq!(detected_content(b"II\xBC\x01"), "a JPEG XR image");
        assert_eq!(detected_content(b"v/1\x01\x02\0\0\0"), "an OpenEXR image");
        let dicom = [&[0; 128][..], b"DICM\x02"].concat();
        assert_eq!(detected_content(&dicom), "a DICOM image");
        assert_eq!(detected_content(b"SIMPLE  =   T"), "a FITS image");
        assert_eq!(detected_content(&[0, 1, 2, 3]), "unrecognized data");
        assert_eq!(detected_content(&[0xFF]), "unrecognized data");
    }
}
