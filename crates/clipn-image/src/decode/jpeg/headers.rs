//! The markers of a file and what they say.
use super::{NAME, damaged, unsupported};
use crate::error::ImageError;

/// How the samples in the file stand for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    LumaChroma,
    /// Cyan, magenta, yellow and black, stored inverted.
    Inks,
    /// Luma, chroma and inverted black.
    LumaChromaBlack,
}

/// One component as the frame header has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameComponent {
    pub id: u8,
    /// Horizontal and vertical sampling factors.
    pub sampling: (usize, usize),
    /// Number of its quantisation table.
    pub quantisation: usize,
}

/// What a frame header says.
pub(super) struct Frame {
    marker: u8,
    precision: u8,
    pub width: u32,
    pub height: u32,
    pub components: Vec<FrameComponent>,
}

impl Frame {
    fn read(marker: u8, segment: &[u8]) -> Option<Self> {
        let [precision, h1, h0, w1, w0, count, components @ ..] = segment else {
            return None;
        };
        let (components, _) = components.get(..3 * usize::from(*count))?.as_chunks::<3>();
        let component = |[id, sampling, quantisation]: &[u8; 3]| FrameComponent {
            id: *id,
            sampling: (usize::from(sampling >> 4), usize::from(sampling & 15)),
            quantisation: usize::from(*quantisation),
        };
        Some(Self {
            marker,
            precision: *precision,
            width: u32::from(u16::from_be_bytes([*w1, *w0])),
            height: u32::from(u16::from_be_bytes([*h1, *h0])),
            components: components.iter().map(component).collect(),
        })
    }

    pub(super) fn is_progressive(&self) -> bool {
        self.marker == 0xC2
    }

    /// The largest sampling factors.
    pub(super) fn max_sampling(&self) -> (usize, usize) {
        let largest = |factor: fn(&FrameComponent) -> usize| {
            self.components.iter().map(factor).max().unwrap_or(1)
        };
        (
            largest(|component| component.sampling.0),
            largest(|component| component.sampling.1),
        )
    }

    /// Refuses what is not decoded.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        match self.marker {
            0xC0..=0xC2 => {}
            0xC3 => return Err(unsupported(NAME, "lossless coding")),
            0xC9..=0xCB => return Err(unsupported(NAME, "arithmetic coding")),
            _ => return Err(unsupported(NAME, "hierarchical coding")),
        }
        if self.precision != 8 {
            return Err(unsupported(
                NAME,
                format!("{} bits a sample", self.precision),
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
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || component.quantisation > 3 {
                return Err(damaged(
                    NAME,
                    format!("component {} has sampling {h}x{v}", component.id),
                ));
            }
            if max_h % h != 0 || max_v % v != 0 {
                return Err(unsupported(
                    NAME,
                    format!("sampling {h}x{v} beside {max_h}x{max_v}"),
                ));
            }
        }
        Ok(())
    }
}

/// What the markers of a file say, up to its end-of-image marker.
#[derive(Default)]
pub(super) struct Headers<'a> {
    pub frame: Option<Frame>,
    jfif: bool,
    adobe_transform: Option<u8>,
    pub exif: Option<&'a [u8]>,
    /// The end-of-image marker was met.
    pub complete: bool,
}

impl<'a> Headers<'a> {
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
            headers.take(marker, segment);
            position += 2 + segment.len();
        }
        headers
    }

    fn take(&mut self, marker: u8, segment: &'a [u8]) {
        match marker {
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

    /// libjpeg's guess at what the components are.
    pub(super) fn colours(&self, frame: &Frame) -> Colours {
        let ids: Vec<u8> = frame
            .components
            .iter()
            .map(|component| component.id)
            .collect();
        match (ids.as_slice(), self.adobe_transform) {
            ([_], _) => Colours::Grey,
            ([_, _, _], _) if self.jfif => Colours::LumaChroma,
            ([_, _, _], Some(0)) | (b"RGB", None) => Colours::Rgb,
            ([_, _, _], _) => Colours::LumaChroma,
            (_, None | Some(0)) => Colours::Inks,
            _ => Colours::LumaChromaBlack,
        }
    }
}

/// The end-of-image marker.
pub(super) const END: u8 = 0xD9;

/// Whether a marker is followed by a length and that many bytes.
pub(super) fn has_segment(marker: u8) -> bool {
    !matches!(marker, 0x01 | 0xD0..=0xD9)
}

/// The bytes of the segment whose length stands at `position`, without the length.
pub(super) fn segment(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let length = *bytes.get(position..)?.first_chunk::<2>()?;
    bytes.get(position + 2..position + usize::from(u16::from_be_bytes(length)).max(2))
}

/// The first marker at or after `position`, and the position after it. Stuffed zeros are data, not markers.
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
