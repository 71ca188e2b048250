//! PNM decoding: PBM, PGM and PPM, plain (P1 to P3) and binary (P4 to P6), with up to 16 bits per
//! sample.
//!
//! Samples are scaled from the maximum value of the file to 8 bits with Pillow's rounding. Gray of
//! more than 8 bits is 16-bit gray, as in other formats.
use super::{DecodeOptions, check_size, corrupt, samples, truncated};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "PNM";

/// Maximum number of digits of a number.
const MAX_DIGITS: usize = 10;

/// Whether the file starts as a PNM image: `P1` to `P6`, then a space or a comment.
pub(super) fn is_pnm(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'1'..=b'6', next, ..] if is_space(*next) || *next == b'#')
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let kind = bytes.get(1).copied().unwrap_or_default();
    let mut reader = Reader { bytes, position: 2 };
    let (width, height) = (reader.number()?, reader.number()?);
    check_size(width, height, options)?;
    let is_bitmap = matches!(kind, b'1' | b'4');
    let max_value = if is_bitmap { 1 } else { reader.number()? };
    if !(1..=65_535).contains(&max_value) {
        let reason = format!("expected a maximum value from 1 to 65535, got {max_value}");
        return Err(corrupt(NAME, reason));
    }
    let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
    let count = width as usize * height as usize * channels;
    let values: Box<dyn Iterator<Item = u16>> = match kind {
        b'1' => Box::new(reader.plain_bits(count)?.into_iter()),
        b'2' | b'3' => Box::new(reader.plain_samples(count, max_value)?.into_iter()),
        b'4' => Box::new(reader.packed_bits(width as usize, height as usize)?),
        _ => reader.binary_samples(count, max_value)?,
    };
    let values: Vec<u16> = values.collect();
    RgbImage::new(
        width,
        height,
        to_rgb(&values, channels, max_value, options)?,
    )
}

/// Converts samples from 0 to `max_value` to RGB.
///
/// The header states the maximum, but 65535 often stands for samples of fewer bits.
fn to_rgb(
    values: &[u16],
    channels: usize,
    max_value: u32,
    options: &DecodeOptions,
) -> Result<Vec<u8>, ImageError> {
    let max_value = match (max_value, options.sample_bits) {
        (65_535, Some(bits)) => (1 << bits) - 1,
        (65_535, None) if options.scale_16_bit => {
            samples::check_brightness(values.iter().copied())?;
            max_value
        }
        _ => max_value,
    };
    if channels == 1 && max_value > 255 {
        let wide = values.iter().map(|value| scale(*value, max_value, 65_535));
        let wide: Vec<u16> = wide.collect();
        let is_clipped = !options.scale_16_bit && options.sample_bits.is_none();
        let bits = if is_clipped { None } else { Some(16) };
        return samples::gray16_to_rgb(
            &wide,
            &DecodeOptions {
                sample_bits: bits,
                ..*options
            },
        );
    }
    let scaled: Vec<u8> = (0..=max_value.min(65_535) as u16)
        .map(|value| scale(value, max_value, 255) as u8)
        .collect();
    // Binary samples above the maximum are white, as in Pillow.
    let bytes = values
        .iter()
        .map(|value| scaled.get(usize::from(*value)).copied().unwrap_or(255));
    Ok(if channels == 3 {
        bytes.collect()
    } else {
        bytes.flat_map(|value| [value; 3]).collect()
    })
}

/// Scales a sample from 0 to `max_value` to 0 to `max_out`; half a step is rounded to even.
fn scale(value: u16, max_value: u32, max_out: u16) -> u16 {
    let scaled = f64::from(value) / f64::from(max_value) * f64::from(max_out);
    scaled.round_ties_even().min(max_out.into()) as u16
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Reader of the numbers and samples of a file.
struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Returns the next byte outside of comments, which end with their line.
    fn next(&mut self) -> Option<u8> {
        let mut byte = *self.bytes.get(self.position)?;
        self.position += 1;
        if byte == b'#' {
            while !matches!(byte, b'\n' | b'\r') {
                byte = *self.bytes.get(self.position)?;
                self.position += 1;
            }
        }
        Some(byte)
    }

    /// Reads a decimal number and the space after it, which is one byte.
    fn number(&mut self) -> Result<u32, ImageError> {
        let mut number = None::<u64>;
        let mut digits = 0;
        loop {
            match (self.next(), number) {
                (Some(digit @ b'0'..=b'9'), _) => {
                    number = Some(number.unwrap_or(0) * 10 + u64::from(digit - b'0'));
                    digits += 1;
                    if digits > MAX_DIGITS {
                        let reason = format!("number of more than {MAX_DIGITS} digits");
                        return Err(corrupt(NAME, reason));
                    }
                }
                (Some(space), None) if is_space(space) => {}
                (Some(space), Some(number)) if is_space(space) => return to_u32(number),
                (Some(other), _) => {
                    let other = char::from(other).escape_default();
                    return Err(corrupt(NAME, format!("expected a digit, got '{other}'")));
                }
                // The last number of a plain file needs no space.
                (None, Some(number)) => return to_u32(number),
                (None, None) => return Err(truncated(NAME)),
            }
        }
    }

    /// Reads the bits of a plain bitmap, where 1 is black. Spaces between them may be missing.
    fn plain_bits(&mut self, count: usize) -> Result<Vec<u16>, ImageError> {
        self.check_length(count)?;
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            match self.next().ok_or_else(|| truncated(NAME))? {
                b'0' => values.push(1),
                b'1' => values.push(0),
                space if is_space(space) => {}
                other => {
                    let other = char::from(other).escape_default();
                    return Err(corrupt(NAME, format!("expected 0 or 1, got '{other}'")));
                }
            }
        }
        Ok(values)
    }

    /// Reads the samples of a plain graymap or pixmap.
    fn plain_samples(&mut self, count: usize, max_value: u32) -> Result<Vec<u16>, ImageError> {
        self.check_length(count)?;
        let sample = |_| match self.number()? {
            value if value <= max_value => Ok(value as u16),
            value => {
                let reason = format!("sample {value} exceeds the maximum of {max_value}");
                Err(corrupt(NAME, reason))
            }
        };
        (0..count).map(sample).collect()
    }

    /// Returns the bits of a binary bitmap, where 1 is black and every row starts at a byte.
    fn packed_bits(
        &self,
        width: usize,
        height: usize,
    ) -> Result<impl Iterator<Item = u16> + use<'a>, ImageError> {
        let row_length = width.div_ceil(8);
        let rows = self.data(row_length * height)?.chunks_exact(row_length);
        Ok(rows.flat_map(move |row| {
            (0..width).map(move |x| u16::from(row[x / 8] >> (7 - x % 8) & 1 ^ 1))
        }))
    }

    /// Returns the samples of a binary graymap or pixmap: bytes, or two bytes each if the maximum
    /// value needs them, the high byte first.
    fn binary_samples(
        &self,
        count: usize,
        max_value: u32,
    ) -> Result<Box<dyn Iterator<Item = u16> + 'a>, ImageError> {
        if max_value < 256 {
            return Ok(Box::new(self.data(count)?.iter().copied().map(u16::from)));
        }
        let (pairs, _) = self.data(2 * count)?.as_chunks::<2>();
        Ok(Box::new(pairs.iter().copied().map(u16::from_be_bytes)))
    }

    /// Returns the next `length` bytes.
    fn data(&self, length: usize) -> Result<&'a [u8], ImageError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        rest.get(..length).ok_or_else(|| truncated(NAME))
    }

    /// Rejects a file with fewer bytes than samples before memory is allocated for them.
    fn check_length(&self, count: usize) -> Result<(), ImageError> {
        self.data(count).map(|_| ())
    }
}

fn to_u32(number: u64) -> Result<u32, ImageError> {
    u32::try_from(number).map_err(|_| corrupt(NAME, format!("number {number} is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(file: &[u8]) -> Vec<u8> {
        let image = decode(file, &DecodeOptions::faithful()).unwrap();
        image
            .pixels()
            .chunks_exact(3)
            .map(|pixel| pixel[0])
            .collect()
    }

    #[test]
    fn every_kind_of_bitmap_and_graymap_is_read() {
        assert_eq!(pixels(b"P1\n# comment\n3 1\n1 0\n# more\n1"), [0, 255, 0]);
        assert_eq!(pixels(b"P1 2 1 10"), [0, 255]);
        assert_eq!(pixels(b"P2 3 1 15 0 7 15"), [0, 119, 255]);
        assert_eq!(
            pixels(b"P4 9 1\n\x80\x80"),
            [0, 255, 255, 255, 255, 255, 255, 255, 0]
        );
        assert_eq!(pixels(b"P5 2 1 255\n\x01\xFF"), [1, 255]);
        assert_eq!(pixels(b"P5#c\n2 1#c\n7\n\x01\x09"), [36, 255]);
    }

    #[test]
    fn sixteen_bit_samples_have_the_high_byte_first() {
        let gray = b"P5 2 1 65535\n\x00\x11\x01\x02";
        assert_eq!(pixels(gray), [0x11, 255]);
        let display = DecodeOptions::for_display();
        assert!(matches!(
            decode(gray, &display),
            Err(ImageError::DimSamples { .. })
        ));
        let scaled = decode(gray, &display.with_sample_bits(16)).unwrap();
        assert_eq!(scaled.pixels(), [0, 0, 0, 1, 1, 1]);
        let ten_bits = decode(gray, &display.with_sample_bits(10)).unwrap();
        assert_eq!(ten_bits.pixels(), [4, 4, 4, 64, 64, 64]);
        let color = b"P6 1 1 65535\n\x00\x11\x01\x02\x03\xFF";
        let ten_bits = decode(color, &display.with_sample_bits(10)).unwrap();
        assert_eq!(ten_bits.pixels(), [4, 64, 255]);
        let color = decode(
            b"P6 1 1 1000\n\x03\xE8\x01\xF4\x00\x00",
            &DecodeOptions::faithful(),
        );
        assert_eq!(color.unwrap().pixels(), [255, 128, 0]);
    }

    #[test]
    fn invalid_files_are_errors() {
        let error = |file: &[u8]| {
            decode(file, &DecodeOptions::faithful())
                .unwrap_err()
                .to_string()
        };
        assert!(error(b"P5 2 1 255\n\x01").contains("truncated"));
        assert!(error(b"P2 2 1 255\n1").contains("truncated"));
        assert!(error(b"P6 2").contains("truncated"));
        assert!(error(b"P2 1 1 9 10").contains("sample 10 exceeds the maximum of 9"));
        assert!(error(b"P5 1 1 0\n\0").contains("maximum value from 1 to 65535, got 0"));
        assert!(error(b"P5 1 1 70000\n\0\0").contains("got 70000"));
        assert!(error(b"P5 -1 1 255\n\0").contains("expected a digit, got '-'"));
        assert!(error(b"P5 99999999999 1 255\n").contains("more than 10 digits"));
        assert!(error(b"P5 4294967295 4294967295 255\n").contains("more than the limit"));
    }
}
