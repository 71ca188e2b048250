//! JPEG, through `zune-jpeg`, with libjpeg's reading of what the colours are and Pillow's of where a file may end.
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::{DecodeOptions, check_size, damaged, samples, truncated, unsupported};
use crate::image::error::ImageError;
use crate::image::rgb::RgbImage;

const NAME: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let headers = Headers::read(bytes);
    let frame = headers.frame.as_ref().ok_or_else(|| match headers.complete {
        true => damaged(NAME, "it has no frame header"),
        false => truncated(NAME),
    })?;
    frame.check()?;
    check_size(frame.width, frame.height, options)?;
    // Pillow refuses a file that ends before its end-of-image marker; the decoder would fill up with grey.
    if !headers.complete {
        return Err(truncated(NAME));
    }
    let stored = headers.colours(frame);
    let patched = headers.without_foreign_transform(bytes, frame);
    let (pixels, given) = read(patched.as_deref().unwrap_or(bytes), frame, stored)?;
    RgbImage::new(frame.width, frame.height, to_rgb(pixels, stored, given))
}

/// The TIFF structure of the EXIF segment.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    Headers::read(bytes).exif
}

/// How the samples in the file stand for colours.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Colours {
    Grey,
    Rgb,
    LumaChroma,
    Inks,
    LumaChromaBlack,
}

/// Decodes; `true` when the decoder has turned luma and chroma into RGB, else the samples are as stored.
fn read(bytes: &[u8], frame: &Frame, stored: Colours) -> Result<(Vec<u8>, bool), ImageError> {
    let settings = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(frame.width as usize)
        .set_max_height(frame.height as usize);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), settings);
    decoder.decode_headers().map_err(failed)?;
    let assumed = decoder.input_colorspace().unwrap_or(ColorSpace::YCbCr);
    let converts = stored == Colours::LumaChroma && assumed == ColorSpace::YCbCr;
    let wanted = if converts { ColorSpace::RGB } else { assumed };
    decoder.set_options(settings.jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(failed)?;
    let expected = frame.width as usize * frame.height as usize * frame.components.len();
    if pixels.len() != expected {
        let found = pixels.len();
        return Err(damaged(NAME, format!("{found} samples were decoded where its size takes {expected}")));
    }
    Ok((pixels, converts))
}

fn to_rgb(mut samples: Vec<u8>, stored: Colours, converted: bool) -> Vec<u8> {
    match stored {
        Colours::Grey => samples::from_grey(&samples),
        Colours::LumaChroma if !converted => {
            for pixel in samples.as_chunks_mut::<3>().0 {
                *pixel = samples::from_luma_chroma(*pixel);
            }
            samples
        }
        Colours::LumaChroma | Colours::Rgb => samples,
        // Inks are stored inverted, as Adobe does, whether or not the file says that Adobe wrote it.
        Colours::Inks => {
            samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
            samples::from_cmyk(&samples)
        }
        Colours::LumaChromaBlack => {
            for [y, cb, cr, k] in samples.as_chunks_mut::<4>().0 {
                [*y, *cb, *cr] = samples::from_luma_chroma([*y, *cb, *cr]);
                *k = 255 - *k;
            }
            samples::from_cmyk(&samples)
        }
    }
}

fn failed(error: DecodeErrors) -> ImageError {
    match error {
        DecodeErrors::Unsupported(what) => unsupported(NAME, format!("{what:?}")),
        DecodeErrors::ExhaustedData => truncated(NAME),
        error => damaged(NAME, error),
    }
}

/// What a frame header says.
struct Frame {
    marker: u8,
    precision: u8,
    width: u32,
    height: u32,
    /// Identifier of each component.
    components: Vec<u8>,
}

impl Frame {
    fn read(marker: u8, segment: &[u8]) -> Option<Self> {
        let [precision, h1, h0, w1, w0, count, components @ ..] = segment else { return None };
        let components = components.get(..3 * usize::from(*count))?;
        Some(Self {
            marker,
            precision: *precision,
            width: u32::from(u16::from_be_bytes([*w1, *w0])),
            height: u32::from(u16::from_be_bytes([*h1, *h0])),
            components: components.chunks_exact(3).map(|component| component[0]).collect(),
        })
    }

    fn check(&self) -> Result<(), ImageError> {
        match self.marker {
            0xC0..=0xC2 => {}
            0xC3 => return Err(unsupported(NAME, "lossless coding")),
            0xC9..=0xCB | 0xCD..=0xCF => return Err(unsupported(NAME, "arithmetic coding")),
            _ => return Err(unsupported(NAME, "hierarchical coding")),
        }
        if self.precision != 8 {
            return Err(unsupported(NAME, format!("{} bits a sample", self.precision)));
        }
        match self.components.len() {
            1 | 3 | 4 => Ok(()),
            count => Err(unsupported(NAME, format!("{count} components"))),
        }
    }
}

/// What the markers of a file say, up to its end-of-image marker.
#[derive(Default)]
struct Headers<'a> {
    frame: Option<Frame>,
    jfif: bool,
    /// Where Adobe's segment has its colour transform.
    adobe_transform: Option<(usize, u8)>,
    exif: Option<&'a [u8]>,
    /// The end-of-image marker was met.
    complete: bool,
}

impl<'a> Headers<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut headers = Self::default();
        let mut position = 2;
        while let Some((marker, after)) = next_marker(bytes, position) {
            position = after;
            match marker {
                0x01 | 0xD0..=0xD8 => continue,
                0xD9 => {
                    headers.complete = true;
                    break;
                }
                _ => {}
            }
            let Some(length) = bytes.get(position..position + 2) else { break };
            let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            let Some(segment) = bytes.get(position + 2..position + length) else { break };
            headers.take(marker, segment, position + 2);
            position += length;
        }
        headers
    }

    fn take(&mut self, marker: u8, segment: &'a [u8], start: usize) {
        match marker {
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF if self.frame.is_none() => self.frame = Frame::read(marker, segment),
            0xE0 if segment.len() >= 12 && segment.starts_with(b"JFIF\0") => self.jfif = true,
            0xE1 if self.exif.is_none() => self.exif = segment.strip_prefix(b"Exif\0\0"),
            0xEE if segment.len() >= 12 && segment.starts_with(b"Adobe") => {
                self.adobe_transform = Some((start + 11, segment[11]));
            }
            _ => {}
        }
    }

    /// libjpeg's guess at what the components are.
    fn colours(&self, frame: &Frame) -> Colours {
        let transform = self.adobe_transform.map(|(_, transform)| transform);
        match (frame.components.as_slice(), transform) {
            ([_], _) => Colours::Grey,
            ([_, _, _], _) if self.jfif => Colours::LumaChroma,
            ([_, _, _], Some(0)) => Colours::Rgb,
            (b"RGB", None) => Colours::Rgb,
            ([_, _, _], _) => Colours::LumaChroma,
            (_, None | Some(0)) => Colours::Inks,
            _ => Colours::LumaChromaBlack,
        }
    }

    /// The bytes with Adobe's transform set to what the decoder takes for as many components, where it stumbles over
    /// the one that the file has. What the components are is known apart from it.
    fn without_foreign_transform(&self, bytes: &[u8], frame: &Frame) -> Option<Vec<u8>> {
        let (position, transform) = self.adobe_transform?;
        let taken = match (frame.components.len(), transform) {
            (4, 0 | 2) | (1 | 3, 1) => return None,
            (4, _) => 2,
            _ => 1,
        };
        let mut bytes = bytes.to_vec();
        *bytes.get_mut(position)? = taken;
        Some(bytes)
    }
}

/// The first marker at or after `position`, and the position after it. Stuffed zeros are data, not markers.
fn next_marker(bytes: &[u8], mut position: usize) -> Option<(u8, usize)> {
    loop {
        position += bytes.get(position..)?.iter().position(|byte| *byte == 0xFF)?;
        let code = position + bytes[position..].iter().position(|byte| *byte != 0xFF)?;
        if bytes[code] != 0 {
            return Some((bytes[code], code + 1));
        }
        position = code + 1;
    }
}
