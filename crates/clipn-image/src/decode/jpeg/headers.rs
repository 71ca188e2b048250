//! Markers and marker segments (T.81 Annex B).
use super::{NAME, corrupt, unsupported};
use crate::error::ImageError;

/// First frame header marker: baseline DCT.
pub(super) const SOF0: u8 = 0xC0;
/// Frame header marker of progressive DCT.
const SOF2: u8 = 0xC2;
/// Frame header marker of lossless coding.
const SOF3: u8 = 0xC3;
/// Frame header marker of sequential DCT with arithmetic coding.
const SOF9: u8 = 0xC9;
/// Frame header marker of progressive DCT with arithmetic coding.
const SOF10: u8 = 0xCA;
/// Frame header marker of lossless arithmetic coding.
const SOF11: u8 = 0xCB;
/// Last frame header marker.
const SOF15: u8 = 0xCF;
/// Huffman tables.
pub(super) const DHT: u8 = 0xC4;
/// Frame header marker of JPEG-LS (T.87), SOF55.
const SOF55: u8 = 0xF7;
/// Reserved for JPEG extensions.
const JPG: u8 = 0xC8;
/// Arithmetic coding conditioning.
pub(super) const DAC: u8 = 0xCC;
/// First restart marker.
pub(super) const RST0: u8 = 0xD0;
/// Last restart marker.
pub(super) const RST7: u8 = 0xD7;
/// Start of image.
pub(super) const SOI: u8 = 0xD8;
/// End of image.
pub(super) const EOI: u8 = 0xD9;
/// Start of scan.
pub(super) const SOS: u8 = 0xDA;
/// Quantization tables.
pub(super) const DQT: u8 = 0xDB;
/// Restart interval.
pub(super) const DRI: u8 = 0xDD;
/// Application segment of JFIF.
const APP0: u8 = 0xE0;
/// Application segment of EXIF.
const APP1: u8 = 0xE1;
/// Application segment of Adobe.
const APP14: u8 = 0xEE;
/// Temporary use in arithmetic coding.
const TEM: u8 = 0x01;

/// Start of an APP1 segment with XMP.
const XMP_NAME: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// Color space of the coded components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum ColorSpace {
    Grayscale,
    Rgb,
    YCbCr,
    /// CMYK, stored inverted.
    Cmyk,
    /// CMYK as it is, with 0 for no ink.
    PlainCmyk,
    /// YCCK: YCbCr of inverted CMY, and inverted black.
    Ycck,
}

impl ColorSpace {
    /// Returns the number of components.
    pub(in crate::decode) fn components(self) -> usize {
        match self {
            Self::Grayscale => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk | Self::PlainCmyk | Self::Ycck => 4,
        }
    }
}

/// Sampling factors of a component (T.81 A.1.1), 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SamplingFactors {
    /// Horizontal sampling factor (Hi).
    pub(super) horizontal: usize,
    /// Vertical sampling factor (Vi).
    pub(super) vertical: usize,
}

/// Component specification of a frame header (T.81 B.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameComponent {
    /// Component identifier (Ci).
    pub(super) id: u8,
    pub(super) sampling_factors: SamplingFactors,
    /// Quantization table destination (Tqi), 0 to 3.
    pub(super) quantization_table: usize,
}

/// Frame header (SOF marker segment, T.81 B.2.2).
pub(super) struct Frame {
    /// Marker code SOFn, which determines the coding process.
    marker: u8,
    /// Sample precision (P) in bits.
    precision: u8,
    /// Samples per line (X).
    pub(super) width: u32,
    /// Number of lines (Y).
    pub(super) height: u32,
    /// Component specifications in the order of the header.
    pub(super) components: Vec<FrameComponent>,
}

impl Frame {
    /// Parses a frame header; `None` if it is incomplete.
    fn read(marker: u8, segment: &[u8]) -> Option<Self> {
        let [precision, h1, h0, w1, w0, count, components @ ..] = segment else {
            return None;
        };
        let (components, _) = components.get(..3 * usize::from(*count))?.as_chunks::<3>();
        let component = |[id, sampling, table]: &[u8; 3]| FrameComponent {
            id: *id,
            sampling_factors: SamplingFactors {
                horizontal: usize::from(sampling >> 4),
                vertical: usize::from(sampling & 15),
            },
            quantization_table: usize::from(*table),
        };
        Some(Self {
            marker,
            precision: *precision,
            width: u32::from(u16::from_be_bytes([*w1, *w0])),
            height: u32::from(u16::from_be_bytes([*h1, *h0])),
            components: components.iter().map(component).collect(),
        })
    }

    /// Whether the coding process is progressive DCT (SOF2, SOF10).
    pub(super) fn is_progressive(&self) -> bool {
        matches!(self.marker, SOF2 | SOF10)
    }

    /// Whether the entropy coding is arithmetic coding (SOF9, SOF10).
    pub(super) fn is_arithmetic(&self) -> bool {
        matches!(self.marker, SOF9 | SOF10)
    }

    /// Returns the maximum sampling factors (Hmax, Vmax).
    pub(super) fn max_sampling_factors(&self) -> SamplingFactors {
        let max = |factor: fn(&SamplingFactors) -> usize| {
            let factors = self.components.iter().map(|c| factor(&c.sampling_factors));
            factors.max().unwrap_or(1)
        };
        SamplingFactors {
            horizontal: max(|factors| factors.horizontal),
            vertical: max(|factors| factors.vertical),
        }
    }

    /// Rejects frames that are not supported or invalid.
    pub(super) fn validate(&self) -> Result<(), ImageError> {
        match self.marker {
            // Baseline, extended sequential and progressive DCT.
            SOF0..=SOF2 | SOF9..=SOF10 => {}
            SOF3 | SOF11 => return Err(unsupported(NAME, "lossless coding")),
            _ => return Err(unsupported(NAME, "hierarchical coding")),
        }
        if self.precision != 8 {
            return Err(unsupported(
                NAME,
                format!("{} bits per sample", self.precision),
            ));
        }
        if !matches!(self.components.len(), 1 | 3 | 4) {
            return Err(unsupported(
                NAME,
                format!("{} components", self.components.len()),
            ));
        }
        let SamplingFactors {
            horizontal: max_h,
            vertical: max_v,
        } = self.max_sampling_factors();
        for component in &self.components {
            let SamplingFactors {
                horizontal: h,
                vertical: v,
            } = component.sampling_factors;
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || component.quantization_table > 3 {
                return Err(corrupt(
                    NAME,
                    format!(
                        "component {}: sampling factors {h}x{v}, quantization table {}",
                        component.id, component.quantization_table
                    ),
                ));
            }
            if max_h % h != 0 || max_v % v != 0 {
                return Err(unsupported(
                    NAME,
                    format!("sampling factors {h}x{v} with a maximum of {max_h}x{max_v}"),
                ));
            }
        }
        Ok(())
    }
}

/// Contents of the marker segments up to the end-of-image marker.
#[derive(Default)]
pub(super) struct JpegHeaders<'a> {
    /// First frame header.
    pub(super) frame: Option<Frame>,
    /// Whether there is a JFIF APP0 segment.
    jfif: bool,
    /// Color transform flag of the Adobe APP14 segment: 0 none, 1 YCbCr, 2 YCCK.
    adobe_transform: Option<u8>,
    /// TIFF structure of the EXIF APP1 segment.
    pub(super) exif: Option<&'a [u8]>,
    /// XMP of the last APP1 segment that has any.
    pub(super) xmp: Option<&'a [u8]>,
    /// Whether there is a frame header of JPEG-LS.
    pub(super) is_jpeg_ls: bool,
    /// Whether the end-of-image marker was found.
    pub(super) has_eoi: bool,
}

impl<'a> JpegHeaders<'a> {
    /// Reads the marker segments of a file.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut headers = Self::default();
        let mut position = 2;
        while let Some((marker, after)) = next_marker(bytes, position) {
            position = after;
            if marker == EOI {
                headers.has_eoi = true;
                break;
            }
            if !has_segment(marker) {
                continue;
            }
            let Some(segment) = segment(bytes, position) else {
                break;
            };
            headers.read_segment(marker, segment);
            position += 2 + segment.len();
        }
        headers
    }

    /// Reads one marker segment.
    fn read_segment(&mut self, marker: u8, segment: &'a [u8]) {
        match marker {
            // In the range of the frame headers, but none.
            DHT | JPG | DAC => {}
            SOF55 => self.is_jpeg_ls = true,
            SOF0..=SOF15 if self.frame.is_none() => self.frame = Frame::read(marker, segment),
            APP0 if segment.len() >= 12 && segment.starts_with(b"JFIF\0") => self.jfif = true,
            APP1 if segment.starts_with(XMP_NAME) => self.xmp = segment.get(XMP_NAME.len()..),
            APP1 if self.exif.is_none() => self.exif = segment.strip_prefix(b"Exif\0\0"),
            APP14 if segment.len() >= 12 && segment.starts_with(b"Adobe") => {
                self.adobe_transform = Some(segment[11]);
            }
            _ => {}
        }
    }

    /// Infers the color space of the components, with libjpeg's heuristics.
    pub(super) fn color_space(&self, frame: &Frame) -> ColorSpace {
        let ids: Vec<u8> = frame
            .components
            .iter()
            .map(|component| component.id)
            .collect();
        match (ids.as_slice(), self.adobe_transform) {
            ([_], _) => ColorSpace::Grayscale,
            ([_, _, _], _) if self.jfif => ColorSpace::YCbCr,
            ([_, _, _], Some(0)) | (b"RGB", None) => ColorSpace::Rgb,
            ([_, _, _], _) => ColorSpace::YCbCr,
            (_, None | Some(0)) => ColorSpace::Cmyk,
            _ => ColorSpace::Ycck,
        }
    }
}

/// Whether the marker starts a marker segment, with a length and parameters; TEM, RSTn, SOI and EOI
/// do not.
pub(super) fn has_segment(marker: u8) -> bool {
    !matches!(marker, TEM | RST0..=EOI)
}

/// Returns the parameters of the marker segment whose length is at `position`, without the length.
pub(super) fn segment(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let length = *bytes.get(position..)?.first_chunk::<2>()?;
    bytes.get(position + 2..position + usize::from(u16::from_be_bytes(length)).max(2))
}

/// Returns the first marker at or after `position` and the position after it.
///
/// A byte 0xFF followed by a stuffed zero is data, not a marker.
pub(super) fn next_marker(bytes: &[u8], mut position: usize) -> Option<(u8, usize)> {
    loop {
        position += memchr::memchr(0xFF, bytes.get(position..)?)?;
        let code = position + bytes[position..].iter().position(|byte| *byte != 0xFF)?;
        if bytes[code] != 0 {
            return Some((bytes[code], code + 1));
        }
        position = code + 1;
    }
}
