//! What a file is, from its first bytes: for errors about a file that is taken for something else.
//!
//! ```
//! use clipn_base::content::ContentKind;
//!
//! let kind = ContentKind::detect(b"version https://git-lfs.github.com/spec/v1\n");
//! assert_eq!(kind, ContentKind::GitLfsPointer);
//! assert_eq!(kind.to_string(), "a Git LFS pointer");
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Number of first bytes that [`ContentKind::detect`] looks at; more are ignored.
pub const SAMPLE_BYTES: usize = 512;

/// Kind of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentKind {
    /// No bytes at all.
    Empty,
    /// Zero bytes only, as in a download that was allocated but never filled.
    Zeros,
    /// Apache Parquet table.
    Parquet,
    /// Apache Arrow IPC file.
    Arrow,
    /// ZIP archive; PyTorch's files are some too.
    Zip,
    /// gzip-compressed data.
    Gzip,
    /// xz-compressed data.
    Xz,
    /// bzip2-compressed data.
    Bzip2,
    /// Zstandard-compressed data.
    Zstd,
    /// LZ4-compressed data.
    Lz4,
    /// Archive of NumPy arrays (`.npz`).
    NumPyArchive,
    /// 7-Zip archive.
    SevenZip,
    /// RAR archive.
    Rar,
    /// Tar archive with the mark of POSIX or GNU tar.
    Tar,
    /// safetensors weights.
    Safetensors,
    /// Python pickle, such as PyTorch's legacy format.
    Pickle,
    /// NumPy array.
    NumPy,
    /// HDF5 file.
    Hdf5,
    /// GGUF weights.
    Gguf,
    /// SQLite database.
    Sqlite,
    /// JPEG image.
    Jpeg,
    /// PNG image.
    Png,
    /// GIF image.
    Gif,
    /// WebP image.
    WebP,
    /// BMP image.
    Bmp,
    /// TIFF image.
    Tiff,
    /// AVIF image.
    Avif,
    /// HEIC image.
    Heic,
    /// JPEG XL image.
    JpegXl,
    /// JPEG 2000 image.
    Jpeg2000,
    /// PBM, PGM or PPM image.
    Pnm,
    /// PAM or PFM image.
    Pam,
    /// QOI image.
    Qoi,
    /// Photoshop document.
    Photoshop,
    /// Windows icon or cursor.
    Icon,
    /// DirectDraw surface.
    Dds,
    /// JPEG XR image.
    JpegXr,
    /// OpenEXR image.
    OpenExr,
    /// DICOM image of medicine.
    Dicom,
    /// FITS image of astronomy.
    Fits,
    /// SVG drawing.
    Svg,
    /// Video in MPEG-4's container.
    Video,
    /// PDF document.
    Pdf,
    /// Pointer that Git LFS writes in place of a large file.
    GitLfsPointer,
    /// HTML page, such as an error or a login page.
    Html,
    /// XML document, such as the error of an object store.
    Xml,
    /// JSON value.
    Json,
    /// Text of another kind.
    Text,
    /// Text in UTF-16, with or without a byte order mark.
    Utf16,
    /// Anything else.
    Unknown,
}

impl ContentKind {
    /// Detects the kind from the first bytes of a file; 512 are enough.
    #[must_use]
    pub fn detect(start: &[u8]) -> Self {
        let start = &start[..start.len().min(SAMPLE_BYTES)];
        if start.is_empty() {
            return Self::Empty;
        }
        if start.iter().all(|&byte| byte == 0) {
            return Self::Zeros;
        }
        binary(start)
            .or_else(|| image(start))
            .or_else(|| text(start))
            .or_else(|| is_utf16(start).then_some(Self::Utf16))
            .unwrap_or(Self::Unknown)
    }

    /// Reads the first bytes of a file and detects their kind.
    ///
    /// # Errors
    /// The error of the operating system if the file cannot be read.
    pub fn of_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut start = Vec::with_capacity(SAMPLE_BYTES);
        File::open(path)?
            .take(SAMPLE_BYTES as u64)
            .read_to_end(&mut start)?;
        Ok(Self::detect(&start))
    }

    /// Returns the kind as a noun with its article, such as `a Parquet file`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "an empty file",
            Self::Zeros => "a file of zeros only, such as an incomplete download",
            Self::Parquet => "a Parquet file",
            Self::Arrow => "an Arrow file",
            Self::Zip => "a ZIP archive",
            Self::Gzip => "a gzip archive",
            Self::Xz => "an xz archive",
            Self::Bzip2 => "a bzip2 archive",
            Self::Zstd => "a zstd archive",
            Self::Lz4 => "an LZ4 archive",
            Self::NumPyArchive => "an archive of NumPy arrays (.npz)",
            Self::SevenZip => "a 7-Zip archive",
            Self::Rar => "a RAR archive",
            Self::Tar => "a tar archive",
            Self::Safetensors => "a safetensors file",
            Self::Pickle => "a Python pickle",
            Self::NumPy => "a NumPy array",
            Self::Hdf5 => "an HDF5 file",
            Self::Gguf => "a GGUF file",
            Self::Sqlite => "an SQLite database",
            Self::Jpeg => "a JPEG image",
            Self::Png => "a PNG image",
            Self::Gif => "a GIF image",
            Self::WebP => "a WebP image",
            Self::Bmp => "a BMP image",
            Self::Tiff => "a TIFF image",
            Self::Avif => "an AVIF image",
            Self::Heic => "a HEIC image",
            Self::JpegXl => "a JPEG XL image",
            Self::Jpeg2000 => "a JPEG 2000 image",
            Self::Pnm => "a PNM image",
            Self::Pam => "a PAM or PFM image",
            Self::Qoi => "a QOI image",
            Self::Photoshop => "a Photoshop document",
            Self::Icon => "a Windows icon",
            Self::Dds => "a DDS texture",
            Self::JpegXr => "a JPEG XR image",
            Self::OpenExr => "an OpenEXR image",
            Self::Dicom => "a DICOM image",
            Self::Fits => "a FITS image",
            Self::Svg => "an SVG drawing",
            Self::Video => "a video",
            Self::Pdf => "a PDF document",
            Self::GitLfsPointer => "a Git LFS pointer",
            Self::Html => "an HTML page",
            Self::Xml => "an XML document, such as a server error",
            Self::Json => "JSON",
            Self::Text => "a text file",
            Self::Utf16 => "UTF-16 text",
            Self::Unknown => "unrecognized data",
        }
    }

    /// Returns the kind of a file that should be text of these kinds, if it is certainly another:
    /// `None` also for unrecognized data.
    #[must_use]
    pub fn other_than(start: &[u8], expected: &[Self]) -> Option<Self> {
        let kind = Self::detect(start);
        (kind != Self::Unknown && !expected.contains(&kind)).then_some(kind)
    }

    /// Returns whether the content is an image of any format, readable or not.
    #[must_use]
    pub fn is_image(self) -> bool {
        matches!(
            self,
            Self::Jpeg
                | Self::Png
                | Self::Gif
                | Self::WebP
                | Self::Bmp
                | Self::Tiff
                | Self::Avif
                | Self::Heic
                | Self::JpegXl
                | Self::Jpeg2000
                | Self::Pnm
                | Self::Pam
                | Self::Qoi
                | Self::Photoshop
                | Self::Icon
                | Self::Dds
                | Self::JpegXr
                | Self::OpenExr
                | Self::Dicom
                | Self::Fits
        )
    }

    /// Returns how to get the right file, as a clause without final stop; `None` if the kind does
    /// not say.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::GitLfsPointer => "run `git lfs pull` to download the file itself",
            Self::Html | Self::Xml => {
                "download the file itself rather than a web page or an error of the server"
            }
            Self::Empty | Self::Zeros => "download it again",
            Self::Xz | Self::Bzip2 | Self::Lz4 => "unpack it first",
            Self::NumPyArchive => "save each array on its own with numpy.save",
            Self::Zip | Self::SevenZip | Self::Rar => "extract it and use the files inside",
            _ => return None,
        })
    }
}

impl fmt::Display for ContentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Archives, tables and weights.
fn binary(start: &[u8]) -> Option<ContentKind> {
    use ContentKind as Kind;
    if start.get(257..262) == Some(b"ustar") {
        return Some(Kind::Tar);
    }
    Some(match start {
        // A header length below 2^48, and the opening brace of the JSON header.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => Kind::Safetensors,
        [b'P', b'A', b'R', b'1' | b'E', ..] => Kind::Parquet,
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Kind::Arrow,
        [b'P', b'K', 3, 4, ..]
            if first_of_zip(start).is_some_and(|name| name.ends_with(b".npy")) =>
        {
            Kind::NumPyArchive
        }
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Kind::Zip,
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Kind::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Kind::Bzip2,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
        [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50 => Kind::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Kind::Lz4,
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Kind::SevenZip,
        [b'R', b'a', b'r', b'!', 0x1a, 0x07, ..] => Kind::Rar,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Kind::NumPy,
        [0x89, b'H', b'D', b'F', ..] => Kind::Hdf5,
        [b'G', b'G', b'U', b'F', ..] => Kind::Gguf,
        [0x80, 2..=5, ..] => Kind::Pickle,
        _ if start.starts_with(b"SQLite format 3\0") => Kind::Sqlite,
        _ => return None,
    })
}

/// Name of the first file of a ZIP archive, by its local header.
fn first_of_zip(start: &[u8]) -> Option<&[u8]> {
    let length = u16::from_le_bytes([*start.get(26)?, *start.get(27)?]);
    start.get(30..30 + usize::from(length))
}

/// Images and other media.
fn image(start: &[u8]) -> Option<ContentKind> {
    use ContentKind as Kind;
    Some(match start {
        [0xff, 0xd8, 0xff, ..] => Kind::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => Kind::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Kind::Gif,
        _ if start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP") => Kind::WebP,
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Kind::Tiff,
        // Text may start with "BM" too, but has no such header size.
        [b'B', b'M', ..]
            if matches!(
                start.get(14..18),
                Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
            ) =>
        {
            Kind::Bmp
        }
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => media_brand(brand),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => Kind::JpegXl,
        [0, 0, 0, 12, b'j', b'P', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => Kind::Jpeg2000,
        [b'q', b'o', b'i', b'f', ..] => Kind::Qoi,
        [b'P', b'7' | b'f' | b'F', b'\n' | b'\r', ..] => Kind::Pam,
        [b'P', b'1'..=b'6', b'\n' | b' ' | b'\r' | b'\t' | b'#', ..] => Kind::Pnm,
        [b'8', b'B', b'P', b'S', ..] => Kind::Photoshop,
        [0, 0, 1 | 2, 0, 1..=64, 0, ..] => Kind::Icon,
        [b'D', b'D', b'S', b' ', 124, ..] => Kind::Dds,
        [b'I', b'I', 0xbc, 1, ..] => Kind::JpegXr,
        [0x76, 0x2f, 0x31, 0x01, ..] => Kind::OpenExr,
        _ if start.get(128..132) == Some(b"DICM") => Kind::Dicom,
        _ if start.starts_with(b"SIMPLE  =") => Kind::Fits,
        [b'%', b'P', b'D', b'F', ..] => Kind::Pdf,
        _ => return None,
    })
}

/// The format in MPEG-4's container, by the main brand of the file and those after it.
fn media_brand(brands: &[u8]) -> ContentKind {
    match brands.first_chunk::<4>() {
        Some(b"avif" | b"avis") => ContentKind::Avif,
        Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx") => ContentKind::Heic,
        // Which codec the image has is said by the brands after this one.
        Some(b"mif1" | b"msf1") if brands.windows(4).any(|other| other == b"avif") => {
            ContentKind::Avif
        }
        Some(b"mif1" | b"msf1") => ContentKind::Heic,
        _ => ContentKind::Video,
    }
}

/// Kinds of text; `None` for binary data.
fn text(start: &[u8]) -> Option<ContentKind> {
    let text = match std::str::from_utf8(start) {
        Ok(valid) => valid,
        // A character cut off at the end of the sample is still text.
        Err(error) if error.valid_up_to() + 4 > start.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    if text.is_empty() || text.chars().any(is_control) {
        return None;
    }
    let lower = text
        .trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t'])
        .to_ascii_lowercase();
    let is_xml = lower.starts_with("<?xml");
    Some(if lower.starts_with("version https://git-lfs") {
        ContentKind::GitLfsPointer
    } else if lower.starts_with("<svg") || (is_xml && lower.contains("<svg")) {
        ContentKind::Svg
    } else if ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|tag| lower.starts_with(tag))
        || (is_xml && lower.contains("<html"))
    {
        ContentKind::Html
    } else if is_xml || lower.starts_with("<error>") {
        ContentKind::Xml
    } else if is_json(&lower) {
        ContentKind::Json
    } else {
        ContentKind::Text
    })
}

/// Whether data is UTF-16: it has a byte order mark, or each second byte is zero and the others are
/// ASCII text. UTF-32, with the same mark before two zeros, is none.
fn is_utf16(start: &[u8]) -> bool {
    match start {
        [0xff, 0xfe, 0, 0, ..] => return false,
        [0xff, 0xfe, _, ..] | [0xfe, 0xff, _, ..] => return true,
        _ => {}
    }
    let is_ascii = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let (units, _) = start.as_chunks::<2>();
    units.len() > 1
        && (units.iter().all(|&[low, high]| is_ascii(low) && high == 0)
            || units.iter().all(|&[high, low]| is_ascii(low) && high == 0))
}

/// Whether text begins like JSON: a brace or bracket, then what JSON allows there. TOML begins its
/// tables with brackets too, and a list of names may begin with a brace.
fn is_json(text: &str) -> bool {
    let Some(first @ ('{' | '[')) = text.chars().next() else {
        return false;
    };
    let next = text[1..].trim_start().chars().next();
    match (first, next) {
        (_, None) => true,
        ('{', Some(next)) => matches!(next, '"' | '}'),
        // A path may begin with a number in brackets, and TOML with `[[step]]`.
        (_, Some(next)) => matches!(next, '{' | ']' | '"'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(start: &[u8]) -> String {
        ContentKind::detect(start).to_string()
    }

    #[test]
    fn names_archives_tables_and_weights() {
        for (start, expected) in [
            (&b"PAR1\x15\x04"[..], "a Parquet file"),
            (b"PK\x03\x04..", "a ZIP archive"),
            (b"\x1f\x8b\x08", "a gzip archive"),
            (b"\xfd7zXZ\0\0", "an xz archive"),
            (b"BZh91AY&SY", "a bzip2 archive"),
            (b"\x28\xb5\x2f\xfd", "a zstd archive"),
            (b"\x50\x2a\x4d\x18\0\0\0\0", "a zstd archive"),
            (b"\x02\0\0\0\0\0\0\0{}", "a safetensors file"),
            (b"\x80\x02}q", "a Python pickle"),
            (b"\x93NUMPY\x01\0", "a NumPy array"),
        ] {
            assert_eq!(named(start), expected);
        }
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(named(&tar), "a tar archive");
        let mut npz = b"PK\x03\x04".to_vec();
        npz.resize(30, 0);
        npz[26] = 5;
        assert_eq!(
            named(&[&npz[..], b"a.npy"].concat()),
            "an archive of NumPy arrays (.npz)"
        );
        assert_eq!(named(&[&npz[..], b"a.pkl"].concat()), "a ZIP archive");
        assert_eq!(named(&npz), "a ZIP archive");
        assert_eq!(named(b"BZhang is a name"), "a text file");
        assert_eq!(named(b"Parade"), "a text file");
    }

    #[test]
    fn names_text_in_utf_16() {
        for (start, expected) in [
            (&b"\xff\xfec\0a\0"[..], "UTF-16 text"),
            (b"\xfe\xff\0c\0a", "UTF-16 text"),
            (b"c\0a\0t\0\r\0\n\0", "UTF-16 text"),
            (b"\0c\0a\0t", "UTF-16 text"),
            (b"\xff\xfe\0\0c\0\0\0", "unrecognized data"),
            (b"\x01\0\x02\0", "unrecognized data"),
            (b"c\0", "unrecognized data"),
        ] {
            assert_eq!(named(start), expected, "{start:?}");
        }
    }

    #[test]
    fn names_images() {
        for (start, expected) in [
            (&b"\xff\xd8\xff\xe0"[..], "a JPEG image"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP image"),
            (b"MM\0*", "a TIFF image"),
            (b"\0\0\0\x20ftypavif", "an AVIF image"),
            (b"\0\0\0\x20ftypheic", "a HEIC image"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "an AVIF image"),
            (b"P7\nWIDTH 3", "a PAM or PFM image"),
            (b"P6\n3 3\n255\n", "a PNM image"),
            (b"qoif\0\0\0\x01", "a QOI image"),
        ] {
            assert_eq!(named(start), expected);
            assert_eq!(
                ContentKind::detect(start).is_image(),
                expected.contains("image")
            );
        }
        assert_eq!(named(b"BMW is a maker of cars"), "a text file");
        assert_eq!(named(b"RIFF\0\0\0\0WAVEfmt "), "unrecognized data");
    }

    #[test]
    fn names_texts() {
        for (start, expected) in [
            (&b"\xef\xbb\xbf<!DOCTYPE html><html>"[..], "an HTML page"),
            (b"<?xml version='1.0'?><svg>", "an SVG drawing"),
            (
                b"<?xml version='1.0'?>\n<Error>",
                "an XML document, such as a server error",
            ),
            (b" {\"a\": 1}", "JSON"),
            (b"[\"hot dog\"]", "JSON"),
            (b"[data]\nkind = 1", "a text file"),
            (b"[[step]]\nname = \"a\"", "a text file"),
            (b"{red,green}", "a text file"),
            (b"[1].jpg\n[2].jpg\n", "a text file"),
            (b"name,label\n1,2\n", "a text file"),
            (b"", "an empty file"),
            (
                b"\0\0\0\0",
                "a file of zeros only, such as an incomplete download",
            ),
            (b"\0\x01\x02\x03", "unrecognized data"),
            (b"\xff", "unrecognized data"),
        ] {
            assert_eq!(named(start), expected, "{start:?}");
        }
        assert_eq!(named("é".repeat(300).as_bytes()), "a text file");
    }

    #[test]
    fn unrecognized_data_may_be_of_the_expected_kind() {
        let expected = [ContentKind::Text, ContentKind::Empty];
        let other = |start: &[u8]| ContentKind::other_than(start, &expected);
        assert_eq!(other(b"PAR1\x15"), Some(ContentKind::Parquet));
        assert_eq!(other(b"{\"a\": 1}"), Some(ContentKind::Json));
        for text in [&b"a = 1"[..], b"", b"caf\xe9 = 1"] {
            assert_eq!(other(text), None);
        }
    }

    #[test]
    fn reads_only_the_start_of_a_file() {
        let path = std::env::temp_dir().join(format!("clipn-content-{}", std::process::id()));
        std::fs::write(&path, [&b"BZh91AY&SY"[..], &[7; 9000]].concat()).unwrap();
        assert_eq!(ContentKind::of_file(&path).unwrap(), ContentKind::Bzip2);
        std::fs::remove_file(&path).unwrap();
        assert!(ContentKind::of_file(&path).is_err());
    }
}
