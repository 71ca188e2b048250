//! Run-length encoded palette indices.
use super::NAME;
use super::header::{Header, Palette};
use crate::decode::{corrupt, truncated};
use crate::error::ImageError;

/// Decodes runs of 8-bit indices, or of 4-bit indices if `is_four_bit`.
///
/// Pixels that the runs skip are black. The mark of the end may be missing behind the last pixel.
pub(super) fn decode(
    data: &[u8],
    header: &Header,
    palette: &Palette,
    is_four_bit: bool,
) -> Result<Vec<u8>, ImageError> {
    let mut canvas = Canvas::new(header);
    let mut data = Data(data);
    while canvas.row < canvas.height {
        if data.0.len() < 2 && canvas.is_complete() {
            break;
        }
        match data.pair()? {
            [0, 0] => canvas.start_row(1),
            [0, 1] => break,
            [0, 2] => {
                let [right, up] = data.pair()?;
                canvas.skip(usize::from(right), usize::from(up))?;
            }
            [0, count] => {
                let count = usize::from(count);
                let stored = if is_four_bit {
                    count.div_ceil(2)
                } else {
                    count
                };
                let indices = data.take(stored.next_multiple_of(2))?;
                let index = |i: usize| match is_four_bit {
                    true => nibble(indices[i / 2], i),
                    false => indices[i],
                };
                canvas.paint(count, |i| palette[usize::from(index(i))])?;
            }
            [count, value] if is_four_bit => {
                canvas.paint(usize::from(count), |i| {
                    palette[usize::from(nibble(value, i))]
                })?;
            }
            // Some programs write runs beyond the end of a row.
            [count, index] => {
                let count = usize::from(count).min(canvas.remaining());
                canvas.paint(count, |_| palette[usize::from(index)])?;
            }
        }
    }
    Ok(canvas.pixels)
}

/// Returns the high half of a byte for even positions, the low half for odd ones.
fn nibble(byte: u8, position: usize) -> u8 {
    byte >> (4 * (1 - position % 2)) & 15
}

/// Remaining data.
struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(truncated(NAME))?;
        self.0 = rest;
        Ok(taken)
    }

    fn pair(&mut self) -> Result<[u8; 2], ImageError> {
        let pair = self.take(2)?;
        Ok([pair[0], pair[1]])
    }
}

/// Pixels with the position of the next one.
struct Canvas {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    /// Row from the bottom.
    row: usize,
    column: usize,
}

impl Canvas {
    fn new(header: &Header) -> Self {
        let (width, height) = (header.width as usize, header.height as usize);
        Self {
            pixels: vec![0; width * height * 3],
            width,
            height,
            row: 0,
            column: 0,
        }
    }

    /// Number of pixels between the position and the end of the row.
    fn remaining(&self) -> usize {
        self.width - self.column
    }

    /// Whether the position is behind the last pixel.
    fn is_complete(&self) -> bool {
        self.row + 1 == self.height && self.remaining() == 0
    }

    fn start_row(&mut self, rows: usize) {
        self.row += rows;
        self.column = 0;
    }

    /// Moves the position.
    fn skip(&mut self, right: usize, up: usize) -> Result<(), ImageError> {
        if self.row + up >= self.height || right > self.remaining() {
            return Err(corrupt(NAME, "run lengths leave the image"));
        }
        self.row += up;
        self.column += right;
        Ok(())
    }

    /// Sets the next `count` pixels of the row.
    fn paint(&mut self, count: usize, color: impl Fn(usize) -> [u8; 3]) -> Result<(), ImageError> {
        if count > self.remaining() {
            return Err(corrupt(NAME, "run is longer than its row"));
        }
        let first = (self.height - 1 - self.row) * self.width + self.column;
        let (pixels, _) = self.pixels.as_chunks_mut::<3>();
        for (i, pixel) in pixels[first..first + count].iter_mut().enumerate() {
            *pixel = color(i);
        }
        self.column += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::PixelLayout;
    use super::*;

    /// Decodes 8-bit runs of a 4 × 3 image whose palette has the gray `index + 100`, and returns the
    /// gray values from top to bottom.
    fn grays(data: &[u8]) -> Result<Vec<u8>, ImageError> {
        let palette = std::array::from_fn(|index| [(index as u8).wrapping_add(100); 3]);
        let header = Header {
            width: 4,
            height: 3,
            top_down: false,
            bits: 8,
            layout: PixelLayout::RunLength8(Box::new(palette)),
            data_offset: 0,
        };
        let pixels = decode(data, &header, &palette, false)?;
        Ok(pixels.iter().step_by(3).copied().collect())
    }

    #[test]
    fn skipped_pixels_are_black() {
        // One pixel, a step of two right and one up, one pixel, the end.
        let found = grays(&[1, 1, 0, 2, 2, 1, 1, 2, 0, 1]).unwrap();
        assert_eq!(found, [0, 0, 0, 0, 0, 0, 0, 102, 101, 0, 0, 0]);
    }

    #[test]
    fn a_run_ends_with_its_row() {
        let found = grays(&[9, 1, 0, 0, 0, 4, 5, 6, 7, 8, 0, 1]).unwrap();
        assert_eq!(found, [0, 0, 0, 0, 105, 106, 107, 108, 101, 101, 101, 101]);
    }

    #[test]
    fn rejects_data_that_leaves_the_image_or_ends_early() {
        let is_corrupt = |data: &[u8]| matches!(grays(data), Err(ImageError::Corrupt { .. }));
        assert!(is_corrupt(&[0, 5, 1, 2, 3, 4, 5, 0]));
        assert!(is_corrupt(&[0, 2, 5, 0]));
        assert!(is_corrupt(&[0, 2, 0, 3]));
        let is_truncated = |data: &[u8]| matches!(grays(data), Err(ImageError::Truncated { .. }));
        for data in [&[][..], &[4, 1], &[4, 1, 0], &[0, 4, 1, 2], &[0, 2, 1]] {
            assert!(is_truncated(data), "{data:?}");
        }
    }
}
