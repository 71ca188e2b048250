//! EXIF orientation: how each format stores it, in EXIF or XMP, and how it is applied to an image.
use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;

use super::ifd::Directory;
use super::jpeg;
use super::sniff::Format;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Tag of the orientation in the first directory of EXIF data.
const ORIENTATION_TAG: u16 = 0x112;

/// Tag of XMP in a TIFF.
const XMP_TAG: u16 = 700;

/// Keyword of the PNG text that has XMP.
const PNG_XMP: &[u8] = b"XML:com.adobe.xmp";

/// Keyword of the PNG text that has EXIF data in hexadecimal digits, as ImageMagick writes it.
const PNG_EXIF: &[u8] = b"Raw profile type exif";

/// Maximum length of compressed text that is read, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Start of EXIF data in JPEG, which some writers keep in other formats.
const EXIF_NAME: &[u8] = b"Exif\0\0";

/// Turn of an image that shows it upright. Rotations are clockwise and come before the flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    NoTransforms,
    Rotate90,
    Rotate180,
    Rotate270,
    FlipHorizontal,
    FlipVertical,
    Rotate90FlipH,
    Rotate270FlipH,
}

impl Orientation {
    /// Converts the EXIF value, 1 to 8.
    fn from_exif(value: u64) -> Option<Self> {
        Some(match value {
            1 => Self::NoTransforms,
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Rotate90FlipH,
            6 => Self::Rotate90,
            7 => Self::Rotate270FlipH,
            8 => Self::Rotate270,
            _ => return None,
        })
    }

    /// Reads the orientation from EXIF data, which is a TIFF file. `None` if there is none; an invalid
    /// one changes nothing.
    fn from_exif_data(exif: &[u8]) -> Option<Self> {
        let directory = Directory::read(exif);
        let entry = directory.entry(ORIENTATION_TAG)?;
        let value = directory.single_number(entry);
        Some(
            value
                .and_then(Self::from_exif)
                .unwrap_or(Self::NoTransforms),
        )
    }

    /// Reads the orientation from XMP: the attribute or element `tiff:Orientation`, as Pillow does.
    fn from_xmp(xmp: &[u8]) -> Option<Self> {
        const NAME: &[u8] = b"tiff:Orientation";
        let mut rest = xmp;
        loop {
            let start = rest.windows(NAME.len()).position(|window| window == NAME)?;
            rest = &rest[start + NAME.len()..];
            let value = rest
                .strip_prefix(b"=\"")
                .or_else(|| rest.strip_prefix(b">"));
            if let Some([digit @ b'0'..=b'9', ..]) = value {
                return Self::from_exif(u64::from(digit - b'0'));
            }
        }
    }
}

/// Reads the orientation of an image file: that of EXIF, else that of XMP, else `NoTransforms`.
pub(super) fn read_orientation(format: Format, bytes: &[u8]) -> Orientation {
    let exif = match format {
        Format::Jpeg => jpeg::exif(bytes).map(Cow::Borrowed),
        Format::Png => png_exif(bytes),
        Format::WebP => RIFF_CHUNKS.data(bytes, *b"EXIF").next().map(Cow::Borrowed),
        // EXIF data is itself a TIFF file.
        Format::Tiff => Some(Cow::Borrowed(bytes)),
        Format::Bmp | Format::Gif | Format::Pnm | Format::Qoi => None,
    };
    let without_name = |exif: &Cow<'_, [u8]>| {
        let exif = exif.strip_prefix(EXIF_NAME).unwrap_or(exif);
        Orientation::from_exif_data(exif)
    };
    exif.as_ref()
        .and_then(without_name)
        .or_else(|| Orientation::from_xmp(&xmp(format, bytes)?))
        .unwrap_or(Orientation::NoTransforms)
}

/// Returns the XMP of an image file.
fn xmp(format: Format, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    match format {
        Format::Jpeg => jpeg::xmp(bytes).map(Cow::Borrowed),
        Format::Png => png_text(bytes, PNG_XMP),
        Format::WebP => RIFF_CHUNKS.data(bytes, *b"XMP ").next().map(Cow::Borrowed),
        Format::Tiff => {
            let directory = Directory::read(bytes);
            let value = directory.value(directory.entry(XMP_TAG)?)?;
            Some(Cow::Borrowed(value))
        }
        Format::Bmp | Format::Gif | Format::Pnm | Format::Qoi => None,
    }
}

/// Returns the EXIF data of a PNG: that of its own chunk, else that of a text.
fn png_exif(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    match PNG_CHUNKS.data(bytes, *b"eXIf").last() {
        Some(exif) => Some(Cow::Borrowed(exif)),
        None => raw_profile(&png_text(bytes, PNG_EXIF)?).map(Cow::Owned),
    }
}

/// Decodes a raw profile of ImageMagick: an empty line, a line with its name and one with its length, then lines of
/// hexadecimal digits. `None` if there are other characters.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').skip(3).flatten();
    let digits = lines
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| char::from(*byte).to_digit(16));
    let digits: Option<Vec<u32>> = digits.collect();
    let (pairs, _) = digits.as_ref()?.as_chunks::<2>();
    Some(
        pairs
            .iter()
            .map(|[high, low]| (high << 4 | low) as u8)
            .collect(),
    )
}

/// Returns the last text of a PNG with that keyword.
fn png_text<'a>(bytes: &'a [u8], keyword: &[u8]) -> Option<Cow<'a, [u8]>> {
    let texts = PNG_CHUNKS.all(bytes).filter_map(|(name, data)| {
        let is_text = matches!(&name, b"tEXt" | b"zTXt" | b"iTXt");
        let (_, rest) = is_text
            .then(|| data.strip_prefix(keyword)?.split_first())?
            .filter(|(end, _)| **end == 0)?;
        match &name {
            b"tEXt" => Some(Cow::Borrowed(rest)),
            b"zTXt" => inflated(rest.strip_prefix(&[0])?),
            _ => international_text(rest),
        }
    });
    texts.last()
}

/// Returns the text of an iTXt chunk of PNG, whose data begins behind the keyword.
fn international_text(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    let [is_compressed, _method, rest @ ..] = data else {
        return None;
    };
    // A language and a translated keyword, each with a zero at its end.
    let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
    match is_compressed {
        0 => Some(Cow::Borrowed(text)),
        _ => inflated(text),
    }
}

/// Inflates the text of a PNG.
fn inflated(text: &[u8]) -> Option<Cow<'static, [u8]>> {
    let mut inflated = Vec::new();
    let result = ZlibDecoder::new(text)
        .take(MAX_TEXT)
        .read_to_end(&mut inflated);
    result.is_ok().then_some(Cow::Owned(inflated))
}

/// Layout of the chunks of a file.
struct Chunks {
    /// Position of the first chunk.
    first: usize,
    parse_length: fn([u8; 4]) -> u32,
    /// Whether the name stands before the length.
    is_name_first: bool,
    /// Whether data has an even length, with a byte of padding.
    is_padded: bool,
    /// Bytes of the checksum behind the data.
    checksum: usize,
}

const PNG_CHUNKS: Chunks = Chunks {
    first: 8,
    parse_length: u32::from_be_bytes,
    is_name_first: false,
    is_padded: false,
    checksum: 4,
};

const RIFF_CHUNKS: Chunks = Chunks {
    first: 12,
    parse_length: u32::from_le_bytes,
    is_name_first: true,
    is_padded: true,
    checksum: 0,
};

impl Chunks {
    /// Returns the data of the chunks with that name.
    fn data<'a>(&self, bytes: &'a [u8], name: [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
        self.all(bytes)
            .filter(move |(chunk_name, _)| *chunk_name == name)
            .map(|(_, data)| data)
    }

    /// Returns the names of all chunks with their data.
    fn all<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = ([u8; 4], &'a [u8])> {
        let mut position = self.first;
        let next = move || {
            let (first, rest) = bytes.get(position..)?.split_first_chunk::<4>()?;
            let (second, data) = rest.split_first_chunk::<4>()?;
            let (chunk_name, length) = match self.is_name_first {
                true => (first, second),
                false => (second, first),
            };
            let length = (self.parse_length)(*length) as usize;
            let padding = usize::from(self.is_padded) * (length % 2);
            position = position
                .checked_add(8 + self.checksum + padding)?
                .checked_add(length)?;
            Some((*chunk_name, data.get(..length)?))
        };
        std::iter::from_fn(next)
    }
}

/// Side of the square tiles that are copied one after another, in pixels. The source of a tile fits
/// the first cache level, also where neighbors of a row come from different rows.
const TILE: usize = 32;

/// Shows an image upright whose EXIF orientation is `value`, 1 to 8; other values change nothing. For pixels that
/// another library decoded: [`decode_bytes`](crate::decode_bytes) does it by itself.
///
/// # Errors
/// [`ImageError`] as from [`RgbImage::new`], which does not occur.
///
/// ```
/// use clipn_image::{RgbImage, apply_exif_orientation};
///
/// let image = RgbImage::new(2, 1, vec![1, 1, 1, 2, 2, 2])?;
/// let upright = apply_exif_orientation(image, 6)?;
/// assert_eq!((upright.width(), upright.height()), (1, 2));
/// # Ok::<(), clipn_image::ImageError>(())
/// ```
pub fn apply_exif_orientation(image: RgbImage, value: u64) -> Result<RgbImage, ImageError> {
    match Orientation::from_exif(value) {
        Some(orientation) => apply_orientation(image, orientation),
        None => Ok(image),
    }
}

/// Rotates and flips `image` according to `orientation`.
pub(super) fn apply_orientation(
    image: RgbImage,
    orientation: Orientation,
) -> Result<RgbImage, ImageError> {
    let (width, height) = (image.width() as isize, image.height() as isize);
    let last = width * height - 1;
    let last_row = last + 1 - width;
    // The source of the first pixel, and the step in the source for a step right and a step down.
    let (first, right, down) = match orientation {
        Orientation::NoTransforms => return Ok(image),
        Orientation::Rotate90 => (last_row, -width, 1),
        Orientation::Rotate180 => (last, -1, -width),
        Orientation::Rotate270 => (width - 1, width, -1),
        Orientation::FlipHorizontal => (width - 1, -1, width),
        Orientation::FlipVertical => (last_row, 1, -width),
        Orientation::Rotate90FlipH => (0, width, 1),
        Orientation::Rotate270FlipH => (last, -width, -1),
    };
    let (out_width, out_height) = match orientation {
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (image.width(), image.height()),
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (image.height(), image.width()),
    };
    let (pixels, _) = image.pixels().as_chunks::<3>();
    let mut out = vec![0; image.pixels().len()];
    let (out_pixels, _) = out.as_chunks_mut::<3>();
    let row_length = out_width as usize;
    for (strip, rows) in out_pixels.chunks_mut(row_length * TILE).enumerate() {
        for column in (0..row_length).step_by(TILE) {
            for (y, row) in rows.chunks_mut(row_length).enumerate() {
                let y = strip * TILE + y;
                let mut source = first + column as isize * right + y as isize * down;
                for pixel in row.iter_mut().skip(column).take(TILE) {
                    *pixel = pixels[source as usize];
                    source += right;
                }
            }
        }
    }
    RgbImage::new(out_width, out_height, out)
}

#[cfg(test)]
mod tests {
    use flate2::read::ZlibEncoder;

    use super::*;

    /// Position of the source of the upright pixel `(x, y)` in an image of `width` and `height`, by
    /// the definition of EXIF: where row 0 and column 0 of the stored image are shown.
    fn source(exif: u16, (x, y): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
        let (right, bottom) = (width - 1, height - 1);
        match exif {
            1 => (x, y),
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (y, bottom - x),
            7 => (right - y, bottom - x),
            _ => (right - y, x),
        }
    }

    #[test]
    fn every_orientation_moves_every_pixel_as_exif_defines() {
        let sides = [1, 2, 3, 31, 32, 33, 70];
        for (width, height) in sides.into_iter().flat_map(|w| sides.map(|h| (w, h))) {
            let values = (0..width * height * 3).map(|i| (i * 7 + i / 251) as u8);
            let pixels: Vec<u8> = values.collect();
            for exif in 1..=8u16 {
                let orientation = Orientation::from_exif(exif.into()).unwrap();
                let image = RgbImage::new(width, height, pixels.clone()).unwrap();
                let found = apply_orientation(image, orientation).unwrap();
                let size = if exif < 5 {
                    (width, height)
                } else {
                    (height, width)
                };
                assert_eq!((found.width(), found.height()), size, "{orientation:?}");
                for (index, pixel) in found.pixels().as_chunks::<3>().0.iter().enumerate() {
                    let at = (index as u32 % size.0, index as u32 / size.0);
                    let (x, y) = source(exif, at, (width, height));
                    let expected = &pixels[(y * width + x) as usize * 3..][..3];
                    assert_eq!(
                        pixel, expected,
                        "{orientation:?} of {width}x{height} at {at:?}"
                    );
                }
            }
        }
    }

    /// EXIF data with entries `(tag, type, count, value)`.
    fn exif(is_big_endian: bool, entries: &[(u16, u16, u32, u16)]) -> Vec<u8> {
        let u16 = |value: u16| match is_big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let u32 = |value: u32| match is_big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let mut bytes = match is_big_endian {
            true => b"MM\0*".to_vec(),
            false => b"II*\0".to_vec(),
        };
        bytes.extend(u32(8));
        bytes.extend(u16(entries.len() as u16));
        for &(tag, kind, count, value) in entries {
            bytes.extend([u16(tag), u16(kind)].concat());
            bytes.extend(u32(count));
            bytes.extend([u16(value), u16(0)].concat());
        }
        bytes
    }

    #[test]
    fn reads_numbers_of_16_and_32_bits() {
        // Little-endian, the value field of both is the same.
        let long = exif(false, &[(0x112, 4, 1, 6)]);
        assert_eq!(
            Orientation::from_exif_data(&long),
            Some(Orientation::Rotate90)
        );
    }

    /// A PNG of these chunks. Checksums are not read.
    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let chunk = |(name, data): &(&[u8; 4], Vec<u8>)| {
            let length = (data.len() as u32).to_be_bytes();
            [&length[..], *name, data, &[0; 4]].concat()
        };
        let chunks: Vec<u8> = chunks.iter().flat_map(chunk).collect();
        [b"\x89PNG\r\n\x1A\n", &chunks[..]].concat()
    }

    /// A raw profile as ImageMagick writes it.
    fn profile(exif: &[u8]) -> String {
        let digits: Vec<String> = exif.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<String> = digits.chunks(36).map(<[_]>::concat).collect();
        format!("\nexif\n{:8}\n{}\n", exif.len(), lines.join("\n"))
    }

    /// Orientations are those of `ImageOps.exif_transpose` in Pillow 13.0, which fails at digits that are not
    /// hexadecimal.
    #[test]
    fn png_texts_have_exif_data_and_xmp() {
        const EXIF: &str = "Raw profile type exif\0";
        const XMP: &str = "XML:com.adobe.xmp\0";
        let data = |value| exif(true, &[(0x112, 3, 1, value)]);
        let named = |value| profile(&[EXIF_NAME, &data(value)].concat());
        let plain = |keyword: &str, text: &str| (b"tEXt", format!("{keyword}{text}").into_bytes());
        let deflated = |keyword: &str, text: &str| {
            let mut encoder = ZlibEncoder::new(text.as_bytes(), flate2::Compression::default());
            let mut data = format!("{keyword}\0").into_bytes();
            encoder.read_to_end(&mut data).unwrap();
            (b"zTXt", data)
        };
        let international =
            |keyword: &str, text: &str| (b"iTXt", format!("{keyword}\0\0\0\0{text}").into_bytes());
        let xmp = |value: u16| format!("tiff:Orientation=\"{value}\"");
        let own = |data: Vec<u8>| (b"eXIf", data);
        let invalid = named(6).replace("4d4d", "4d4z");
        let cases = [
            ("text", vec![plain(EXIF, &named(6))], 6),
            ("compressed", vec![deflated(EXIF, &named(8))], 8),
            ("international", vec![international(EXIF, &named(3))], 3),
            ("no name", vec![plain(EXIF, &profile(&data(5)))], 5),
            (
                "the last text",
                vec![plain(EXIF, &named(6)), deflated(EXIF, &named(2))],
                2,
            ),
            (
                "its own chunk",
                vec![plain(EXIF, &named(6)), own(data(4))],
                4,
            ),
            (
                "its own chunk without an orientation",
                vec![plain(EXIF, &named(6)), own(exif(true, &[]))],
                1,
            ),
            ("the last chunk", vec![own(data(6)), own(data(3))], 3),
            (
                "XMP beside it",
                vec![plain(EXIF, &named(7)), plain(XMP, &xmp(3))],
                7,
            ),
            ("XMP as text", vec![plain(XMP, &xmp(6))], 6),
            ("XMP compressed", vec![deflated(XMP, &xmp(8))], 8),
            ("no digits", vec![plain(EXIF, "\nexif\n2\n")], 1),
            ("other digits", vec![plain(EXIF, &invalid)], 1),
            (
                "another profile",
                vec![plain("Raw profile type APP1\0", &named(6))],
                1,
            ),
            (
                "a longer keyword",
                vec![plain("Raw profile type exif2\0", &named(6))],
                1,
            ),
        ];
        for (what, chunks, expected) in cases {
            let found = read_orientation(Format::Png, &png(&chunks));
            assert_eq!(Some(found), Orientation::from_exif(expected), "{what}");
        }
    }

    #[test]
    fn reads_xmp_as_attribute_and_as_element() {
        for (text, expected) in [
            ("<x tiff:Orientation=\"6\"/>", Some(Orientation::Rotate90)),
            (
                "<tiff:Orientation>8</tiff:Orientation>",
                Some(Orientation::Rotate270),
            ),
            (
                "tiff:Orientation tiff:Orientation=\"3",
                Some(Orientation::Rotate180),
            ),
            ("<x tiff:Orientation='6'/>", None),
            ("<x tiff:Orientation=\"9\"/>", None),
            ("", None),
        ] {
            assert_eq!(Orientation::from_xmp(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn reads_the_orientation_of_both_byte_orders() {
        for is_big_endian in [false, true] {
            let read = |entries: &[_]| Orientation::from_exif_data(&exif(is_big_endian, entries));
            let maker = (0x10F, 2, 4, 0);
            assert_eq!(
                read(&[maker, (0x112, 3, 1, 6)]),
                Some(Orientation::Rotate90)
            );
            assert_eq!(read(&[maker]), None);
            for invalid in [0, 9, 0x106] {
                let orientation = read(&[(0x112, 3, 1, invalid)]);
                assert_eq!(orientation, Some(Orientation::NoTransforms), "{invalid}");
            }
            // Two numbers are not an orientation, nor is a byte.
            for (kind, count) in [(3, 2), (1, 1)] {
                let orientation = read(&[(0x112, kind, count, 6)]);
                assert_eq!(orientation, Some(Orientation::NoTransforms));
            }
            let whole = exif(is_big_endian, &[maker, (0x112, 3, 1, 8)]);
            for length in 0..whole.len() {
                assert_eq!(
                    Orientation::from_exif_data(&whole[..length]),
                    None,
                    "{length}"
                );
            }
        }
    }
}
