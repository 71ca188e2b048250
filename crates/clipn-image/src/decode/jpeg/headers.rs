//! Markers and marker segments (T.81 Annex B).
use super::{NAME, damaged, unsupported};
use crate::error::ImageError;

/// Color space of the coded components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColorSpace {
    Grey,
    Rgb,
    YCbCr,
    /// CMYK, stored inverted.
    Cmyk,
    /// YCCK: YCbCr of inverted CMY, and inverted black.
    Ycck,
}

/// Component specification of a frame header (T.81 B.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameComponent {
    /// Component identifier (Ci).
    pub id: u8,
    /// Horizontal and vertical sampling factors (Hi, Vi), 1 to 4.
    pub sampling: (usize, usize),
    /// Quantization table destination (Tqi), 0 to 3.
    pub quantization_table: usize,
}

/// Frame header (SOF marker segment, T.81 B.2.2).
pub(super) struct Frame {
    /// Marker code SOFn, which determines the coding process.
    marker: u8,
    /// Sample precision (P) in bits.
    precision: u8,
    /// Samples per line (X).
    pub width: u32,
    /// Number of lines (Y).
    pub height: u32,
    /// Component specifications in the order of the header.
    pub components: Vec<FrameComponent>,
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
            sampling: (usize::from(sampling >> 4), usize::from(sampling & 15)),
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

    /// Whether the coding process is progressive DCT (SOF2).
    pub(super) fn is_progressive(&self) -> bool {
        self.marker == 0xC2
    }

    /// Returns the maximum sampling factors (Hmax, Vmax).
    pub(super) fn max_sampling(&self) -> (usize, usize) {
        let largest = |factor: fn(&FrameComponent) -> usize| {
            self.components.iter().map(factor).max().unwrap_or(1)
        };
        (
            largest(|component| component.sampling.0),
            largest(|component| component.sampling.1),
        )
    }

    /// Rejects frames that are not supported or invalid.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        match self.marker {
            // SOF0 to SOF2: baseline, extended sequential and progressive DCT.
            0xC0..=0xC2 => {}
            0xC3 => return Err(unsupported(NAME, "lossless coding")),
            0xC9..=0xCB => return Err(unsupported(NAME, "arithmetic coding")),
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
        let (max_h, max_v) = self.max_sampling();
        for component in &self.components {
            let (h, v) = component.sampling;
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || component.quantization_table > 3 {
                return Err(damaged(
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
pub(super) struct Headers<'a> {
    /// First frame header.
    pub frame: Option<Frame>,
    /// Whether there is a JFIF APP0 segment.
    jfif: bool,
    /// Color transform flag of the Adobe APP14 segment: 0 none, 1 YCbCr, 2 YCCK.
    adobe_transform: Option<u8>,
    /// TIFF structure of the EXIF APP1 segment.
    pub exif: Option<&'a [u8]>,
    /// Whether the end-of-image marker was found.
    pub complete: bool,
}

impl<'a> Headers<'a> {
    /// Reads the marker segments of a file.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut headers = Self::default();
        let mut position = 2;
        while let Some((marker, after)) = next_marker(bytes, position) {
            position = after;
            if marker == END {
                headers.complete = true;
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
            // DHT, JPG and DAC: not frame headers.
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF if self.frame.is_none() => self.frame = Frame::read(marker, segment),
            0xE0 if segment.len() >= 12 && segment.starts_with(b"JFIF\0") => self.jfif = true,
            0xE1 if self.exif.is_none() => self.exif = segment.strip_prefix(b"Exif\0\0"),
            0xEE if segment.len() >= 12 && segment.starts_with(b"Adobe") => {
                self.adobe_transform = Some(segment[11]);
            }
            _ => {}
        }
    }

    /// Infers the color space of the components, with libjpeg's heuristics.
    pub(super) fn colours(&self, frame: &Frame) -> ColorSpace {
        let ids: Vec<u8> = frame
            .components
            .iter()
            .map(|component| component.id)
            .collect();
        match (ids.as_slice(), self.adobe_transform) {
            ([_], _) => ColorSpace::Grey,
            ([_, _, _], _) if self.jfif => ColorSpace::YCbCr,
            ([_, _, _], Some(0)) | (b"RGB", None) => ColorSpace::Rgb,
            ([_, _, _], _) => ColorSpace::YCbCr,
            (_, None | Some(0)) => ColorSpace::Cmyk,
            _ => ColorSpace::Ycck,
        }
    }
}

/// End-of-image marker (EOI).
pub(super) const END: u8 = 0xD9;

/// Whether the marker starts a marker segment, with a length and parameters; TEM, RSTn, SOI and EOI
/// do not.
pub(super) fn has_segment(marker: u8) -> bool {
    !matches!(marker, 0x01 | 0xD0..=0xD9)
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
        position += bytes
            .get(position..)?
            .iter()
            .position(|byte| *byte == 0xFF)?;
        let code = position + bytes[position..].iter().position(|byte| *byte != 0xFF)?;
        if bytes[code] != 0 {
            return Some((bytes[code], code + 1));
        }
        position = code + 1;
    }
}
