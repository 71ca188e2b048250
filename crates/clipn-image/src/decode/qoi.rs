//! QOI decoding (<https://qoiformat.org/qoi-specification.pdf>); alpha is dropped.
use super::{DecodeOptions, check_size, corrupt, truncated};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "QOI";

/// Length of the header: `qoif`, width, height, channels, color space.
const HEADER: usize = 14;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let header = bytes.get(..HEADER).ok_or_else(|| truncated(NAME))?;
    let number = |offset: usize| {
        let digits = header[offset..offset + 4].iter();
        digits.fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    let (width, height) = (number(4), number(8));
    check_size(width, height, options)?;
    if !matches!(header[12], 3 | 4) {
        let reason = format!("expected 3 or 4 channels, got {}", header[12]);
        return Err(corrupt(NAME, reason));
    }
    let pixels = width as usize * height as usize;
    // A byte is a run of at most 62 pixels: memory is bounded by the size of the file.
    if (bytes.len() - HEADER) < pixels.div_ceil(62) {
        return Err(truncated(NAME));
    }
    let mut reader = Reader {
        chunks: bytes[HEADER..].iter(),
        last: [0, 0, 0, 255],
        seen: [[0; 4]; 64],
    };
    let mut out = Vec::with_capacity(pixels * 3);
    while out.len() < pixels * 3 {
        let run = reader.advance().ok_or_else(|| truncated(NAME))?;
        let [red, green, blue, _] = reader.last;
        for _ in 0..run.min(pixels - out.len() / 3) {
            out.extend_from_slice(&[red, green, blue]);
        }
    }
    RgbImage::new(width, height, out)
}

/// Reader of the chunks.
struct Reader<'a> {
    chunks: std::slice::Iter<'a, u8>,
    /// Last pixel, RGBA.
    last: [u8; 4],
    /// Pixels seen before, by their hash.
    seen: [[u8; 4]; 64],
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.chunks.next().copied()
    }

    /// Reads a chunk to the last pixel, and returns how many pixels it is for; `None` at the end of
    /// the file.
    fn advance(&mut self) -> Option<usize> {
        let tag = self.byte()?;
        let [red, green, blue, alpha] = self.last;
        let low = tag & 0x3F;
        let mut run = 1;
        self.last = match (tag, tag >> 6) {
            (0xFE, _) => [self.byte()?, self.byte()?, self.byte()?, alpha],
            (0xFF, _) => [self.byte()?, self.byte()?, self.byte()?, self.byte()?],
            (_, 0) => self.seen[usize::from(low)],
            (_, 1) => {
                let difference = |shift: u8| (low >> shift & 3).wrapping_sub(2);
                [
                    red.wrapping_add(difference(4)),
                    green.wrapping_add(difference(2)),
                    blue.wrapping_add(difference(0)),
                    alpha,
                ]
            }
            (_, 2) => {
                let (next, luma) = (self.byte()?, low.wrapping_sub(32));
                let difference = |nibble: u8| luma.wrapping_add(nibble).wrapping_sub(8);
                [
                    red.wrapping_add(difference(next >> 4)),
                    green.wrapping_add(luma),
                    blue.wrapping_add(difference(next & 15)),
                    alpha,
                ]
            }
            _ => {
                run = usize::from(low) + 1;
                self.last
            }
        };
        let hash = self
            .last
            .iter()
            .zip([3, 5, 7, 11])
            .fold(0u8, |hash, (value, factor)| {
                hash.wrapping_add(value.wrapping_mul(factor))
            });
        self.seen[usize::from(hash & 63)] = self.last;
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(width: u8, chunks: &[u8]) -> Vec<u8> {
        let mut file = b"qoif\0\0\0\0\0\0\0\x01\x04\0".to_vec();
        file[7] = width;
        file.extend_from_slice(chunks);
        file
    }

    #[test]
    fn every_chunk_is_read() {
        let chunks = [
            0xFE,
            10,
            20,
            30,          // RGB
            0b0111_0001, // difference +1, -2, -1
            0b1010_0010,
            0x9A, // luma +2: +3, +2, +4
            0xC1, // run of 2
            0xFF,
            1,
            2,
            3,
            4,                                                       // RGBA
            (10 * 3 + 20 * 5 + 30 * 7 + 255 * 11) as u32 as u8 & 63, // index of the first
        ];
        let image = decode(&file(7, &chunks), &DecodeOptions::faithful()).unwrap();
        let expected = [
            [10, 20, 30],
            [11, 18, 29],
            [14, 20, 33],
            [14, 20, 33],
            [14, 20, 33],
            [1, 2, 3],
            [10, 20, 30],
        ];
        assert_eq!(image.pixels(), expected.as_flattened());
    }

    #[test]
    fn the_end_mark_may_be_missing_but_no_pixel() {
        let whole = file(63, &[0xC0, 0xFD]);
        assert!(decode(&whole, &DecodeOptions::faithful()).is_ok());
        for length in 4..whole.len() {
            let error = decode(&whole[..length], &DecodeOptions::faithful()).unwrap_err();
            assert!(matches!(error, ImageError::Truncated { .. }), "{error}");
        }
    }

    #[test]
    fn hostile_headers_are_errors() {
        let mut bomb = file(1, &[0xFD; 9]);
        bomb[4..12].copy_from_slice(&[0, 0, 0x20, 0, 0, 0, 0x20, 0]);
        let error = decode(&bomb, &DecodeOptions::faithful()).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { .. }), "{error}");
        let mut channels = file(1, &[0xC0]);
        channels[12] = 5;
        let error = decode(&channels, &DecodeOptions::faithful()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected 3 or 4 channels, got 5"),
            "{error}"
        );
    }
}
