//! What a file is, by its first bytes.

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    WebP,
    Bmp,
    Gif,
    Tiff,
}

impl Format {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
        }
    }
}

pub(super) fn format(bytes: &[u8]) -> Option<Format> {
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
        _ => None,
    }
}

/// Text may start with "BM" too, but no text has the size of a BMP header at byte 14.
fn is_bmp(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(14..18),
        Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
    )
}

/// What bytes that are none of the formats look like, for a message.
pub(super) fn looks_like(bytes: &[u8]) -> &'static str {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => "an AVIF image",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h' | b'm', ..] => "a HEIC image or a video",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a video",
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => "a JPEG XL image",
        [0, 0, 0, 12, b'j', b'P', ..] => "a JPEG 2000 image",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop document",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [0x1F, 0x8B, ..] => "a gzip archive",
        [b'P', b'1'..=b'7', b'\n' | b' ' | b'\r', ..] => "a PNM image",
        _ => looks_like_text(&bytes[..bytes.len().min(512)]),
    }
}

fn looks_like_text(start: &[u8]) -> &'static str {
    let whole = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character cut at the end of the sample is text all the same.
        Err(error) if error.valid_up_to() + 4 > start.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return "data of an unknown kind",
    };
    if whole.is_empty()
        || whole
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
    {
        return "data of an unknown kind";
    }
    let lower = whole
        .trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t'])
        .to_ascii_lowercase();
    if lower.starts_with("<svg") || (lower.starts_with("<?xml") && lower.contains("<svg")) {
        "an SVG drawing"
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "a web page"
    } else if lower.starts_with("version https://git-lfs") {
        "a Git LFS pointer (run `git lfs pull`)"
    } else {
        "a text file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_formats_by_content() {
        assert_eq!(format(b"\xFF\xD8\xFF\xE0"), Some(Format::Jpeg));
        assert_eq!(format(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::WebP));
        assert_eq!(format(b"RIFF\0\0\0\0WAVEfmt "), None);
        assert_eq!(format(b"BMW is a maker of cars"), None);
        assert_eq!(format(b"MM\0*"), Some(Format::Tiff));
        assert_eq!(format(b"GIF88a"), None);
    }

    #[test]
    fn names_what_is_not_an_image() {
        assert_eq!(looks_like(b"name,label\n1,2\n"), "a text file");
        assert_eq!(looks_like("é".repeat(300).as_bytes()), "a text file");
        assert_eq!(looks_like(b"<!DOCTYPE html><html>"), "a web page");
        assert_eq!(looks_like(b"<?xml version='1.0'?><svg>"), "an SVG drawing");
        assert_eq!(looks_like(b"%PDF-1.4"), "a PDF document");
        assert_eq!(looks_like(b"\0\0\0\x20ftypavif"), "an AVIF image");
        assert_eq!(looks_like(&[0, 1, 2, 3]), "data of an unknown kind");
        assert_eq!(looks_like(&[0xFF]), "data of an unknown kind");
    }
}
