//! Pillow's bicubic and bilinear resampling of a window, byte for byte.
//!
//! Follows `src/libImaging/Resample.c` of Pillow: a = -0.5, support multiplied by the scale for
//! downsampling, weights rounded to 22 bits, rounded to 8 bits between the passes. Which pass is
//! first changes the rounding, and depends on the version ([`PillowVersion`]).
//!
//! Each output pixel has its own weights, so only the pixels of the requested window are computed:
//! a 40000x1 image costs no more than its crop.
use std::fmt;
use std::str::FromStr;

use pulp::{Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::simd_transpose::transpose_bytes;

/// Fractional bits of a weight: 32 bits less 8 bits of pixel and 2 bits of headroom.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// One half in fixed point: sums start at this value, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Number of rows that the horizontal pass processes together.
const ROWS: usize = 8;

/// Bytes of one pixel in [`ROWS`] rows.
const LANES: usize = 3 * ROWS;

/// Version of Pillow whose resize is followed.
///
/// Pillow runs the horizontal pass first, from 13 on the vertical one if an image loses more than twice
/// as many rows as columns. The order changes what is rounded and clipped between the passes.
///
/// ```
/// use clipn_image::PillowVersion;
///
/// assert_eq!("13".parse(), Ok(PillowVersion::V13));
/// assert_eq!(PillowVersion::default().to_string(), "12");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PillowVersion {
    /// All versions up to 12, with which the published figures were measured.
    #[default]
    #[serde(rename = "12")]
    V12,
    /// Version 13.
    #[serde(rename = "13")]
    V13,
}

impl PillowVersion {
    /// All versions that differ, in order.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// Returns the order of the passes for an image.
    pub(crate) fn pass_order(
        self,
        horizontal: AxisResampling,
        vertical: AxisResampling,
    ) -> PassOrder {
        let lost = |axis: AxisResampling| axis.input_len as i128 - i128::from(axis.output_len);
        let (columns, rows) = (lost(horizontal), lost(vertical));
        match self {
            Self::V13 if rows > 0 && rows > 2 * columns => PassOrder::VerticalFirst,
            _ => PassOrder::HorizontalFirst,
        }
    }
}

impl fmt::Display for PillowVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V12 => "12",
            Self::V13 => "13",
        })
    }
}

impl FromStr for PillowVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|version| version.to_string() == text);
        found.ok_or_else(|| format!("expected 12 or 13, got {text:?}"))
    }
}

/// Order of the two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassOrder {
    HorizontalFirst,
    VerticalFirst,
}

/// Resampling of one axis: `input_len` pixels are scaled to `output_len` pixels; only the
/// `window_len` pixels from `window_start` are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AxisResampling {
    pub(crate) input_len: usize,
    pub(crate) output_len: u64,
    pub(crate) window_start: u64,
    pub(crate) window_len: usize,
    pub(crate) filter: Filter,
}

/// Filter of a resampling; antialiased, since its support grows with the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    Bicubic,
    /// Pillow's `BILINEAR`: a triangle.
    Bilinear,
}

impl Filter {
    /// Distance in output pixels beyond which the weight is 0.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => bicubic(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
        }
    }
}

/// Filter weights of one axis: the first input pixel and the fixed-point weights of each computed
/// output pixel.
struct Taps {
    first: Vec<usize>,
    count: Vec<usize>,
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    fn new(axis: AxisResampling) -> Self {
        let scale = axis.input_len as f64 / axis.output_len as f64;
        let filter_scale = scale.max(1.0);
        let support = axis.filter.support() * filter_scale;
        let stride = support.ceil() as usize * 2 + 1;
        let mut taps = Self {
            first: Vec::with_capacity(axis.window_len),
            count: Vec::with_capacity(axis.window_len),
            weights: vec![0; axis.window_len * stride],
            stride,
        };
        let mut exact = Vec::with_capacity(stride);
        for (index, weights) in taps.weights.chunks_exact_mut(stride).enumerate() {
            let center = ((axis.window_start + index as u64) as f64 + 0.5) * scale;
            // Casting a negative float to an unsigned integer gives 0, as Pillow clamps it.
            let first = ((center - support + 0.5) as usize).min(axis.input_len - 1);
            let end = ((center + support + 0.5) as usize).min(axis.input_len);
            exact.clear();
            exact.extend((first..end).map(|x| {
                axis.filter
                    .weight((x as f64 - center + 0.5) * (1.0 / filter_scale))
            }));
            let total: f64 = exact.iter().sum();
            for (weight, value) in weights.iter_mut().zip(&exact) {
                let value = if total == 0.0 { *value } else { value / total };
                let scaled = value * f64::from(1u32 << PRECISION_BITS);
                *weight = (if value < 0.0 {
                    scaled - 0.5
                } else {
                    scaled + 0.5
                }) as i32;
            }
            taps.first.push(first);
            taps.count.push(end - first);
        }
        taps
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    /// Returns the first input pixel and the weights of output pixel `index`.
    #[inline(always)]
    fn at(&self, index: usize) -> (usize, &[i32]) {
        let start = index * self.stride;
        (
            self.first[index],
            &self.weights[start..start + self.count[index]],
        )
    }

    /// Returns the range of input pixels that the computed output pixels depend on, end exclusive.
    fn span(&self) -> (usize, usize) {
        let first = self.first.iter().copied().min().unwrap_or(0);
        let end = self
            .first
            .iter()
            .zip(&self.count)
            .map(|(first, count)| first + count)
            .max()
            .unwrap_or(0);
        (first, end)
    }
}

/// Keys' cubic convolution kernel with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Resizes `pixels` `[vertical.input_len, horizontal.input_len, 3]` and returns the window
/// `[vertical.window_len, horizontal.window_len, 3]` of the result.
pub(crate) fn resample_window(
    pixels: &[u8],
    horizontal: AxisResampling,
    vertical: AxisResampling,
    order: PassOrder,
) -> Vec<u8> {
    let row_bytes = horizontal.input_len * 3;
    let (taps, rows) = if vertical.input_len as u64 == vertical.output_len {
        let first = vertical.window_start as usize;
        (None, (first, first + vertical.window_len))
    } else {
        let taps = Taps::new(vertical);
        let span = taps.span();
        (Some(taps), span)
    };
    let rows = &pixels[rows.0 * row_bytes..rows.1 * row_bytes];
    match (taps, order) {
        (None, _) => resize_rows(rows, row_bytes, horizontal),
        (Some(taps), PassOrder::HorizontalFirst) => {
            let resized = resize_rows(rows, row_bytes, horizontal);
            resize_columns(&resized, horizontal.window_len * 3, &taps)
        }
        (Some(taps), PassOrder::VerticalFirst) => {
            let resized = resize_columns(rows, row_bytes, &taps);
            resize_rows(&resized, row_bytes, horizontal)
        }
    }
}

/// Resizes every row to the window of `axis`.
fn resize_rows(rows: &[u8], row_bytes: usize, axis: AxisResampling) -> Vec<u8> {
    if axis.input_len as u64 == axis.output_len {
        return columns(rows, row_bytes, axis);
    }
    let taps = Taps::new(axis);
    clipn_base::simd::current_arch().dispatch(Horizontal {
        rows,
        row_bytes,
        taps: &taps,
    })
}

/// Resizes every column with the vertical taps.
fn resize_columns(rows: &[u8], row_bytes: usize, taps: &Taps) -> Vec<u8> {
    clipn_base::simd::current_arch().dispatch(Vertical {
        rows,
        row_bytes,
        taps,
    })
}

/// Returns the columns of the window, for rows that keep their width.
fn columns(rows: &[u8], row_bytes: usize, axis: AxisResampling) -> Vec<u8> {
    let first = axis.window_start as usize * 3;
    rows.chunks_exact(row_bytes)
        .flat_map(|row| &row[first..first + axis.window_len * 3])
        .copied()
        .collect()
}

/// [`horizontal_pass`] with the widest SIMD instructions available.
struct Horizontal<'a> {
    rows: &'a [u8],
    row_bytes: usize,
    taps: &'a Taps,
}

impl WithSimd for Horizontal<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        horizontal_pass(self.rows, self.row_bytes, self.taps)
    }
}

/// [`vertical_pass`] with the widest SIMD instructions available.
struct Vertical<'a> {
    rows: &'a [u8],
    row_bytes: usize,
    taps: &'a Taps,
}

impl WithSimd for Vertical<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        vertical_pass(self.rows, self.row_bytes, self.taps)
    }
}

/// Filters every row with the horizontal taps: `[rows, input, 3]` to `[rows, taps, 3]`.
///
/// Eight rows are interleaved, so that one weight applies to 24 adjacent bytes at a time.
#[inline(always)]
fn horizontal_pass(rows: &[u8], row_bytes: usize, taps: &Taps) -> Vec<u8> {
    let (first, end) = taps.span();
    let (first_byte, bytes) = (first * 3, (end - first) * 3);
    let out_bytes = taps.len() * 3;
    let mut out = vec![0; rows.len() / row_bytes * out_bytes];
    let mut interleaved = vec![0; bytes * ROWS];
    let mut filtered = vec![0; out_bytes * ROWS];
    for (block, out) in rows
        .chunks(row_bytes * ROWS)
        .zip(out.chunks_mut(out_bytes * ROWS))
    {
        let last = block.len() / row_bytes - 1;
        let row = |index: usize| &block[index.min(last) * row_bytes + first_byte..][..bytes];
        interleave(std::array::from_fn(row), &mut interleaved);
        let (pixels, _) = interleaved.as_chunks::<LANES>();
        for (index, sums) in filtered.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (start, weights) = taps.at(index);
            let mut sum = [HALF; LANES];
            for (weight, pixel) in weights.iter().zip(&pixels[start - first..]) {
                for (sum, value) in sum.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*value);
                }
            }
            for (out, sum) in sums.iter_mut().zip(&sum) {
                *out = to_byte(*sum);
            }
        }
        deinterleave(&filtered, out, out_bytes);
    }
    out
}

/// Filters every column with the vertical taps: `[input, row_bytes]` to `[taps, row_bytes]`.
///
/// The first row of `rows` is the first input pixel of [`Taps::span`].
#[inline(always)]
fn vertical_pass(rows: &[u8], row_bytes: usize, taps: &Taps) -> Vec<u8> {
    const CHUNK: usize = 64;
    let (span, _) = taps.span();
    let mut out = vec![0; taps.len() * row_bytes];
    for (index, out) in out.chunks_exact_mut(row_bytes).enumerate() {
        let (start, weights) = taps.at(index);
        let rows = &rows[(start - span) * row_bytes..];
        let (chunks, tail) = out.as_chunks_mut::<CHUNK>();
        let tail_start = chunks.len() * CHUNK;
        for (position, chunk) in chunks.iter_mut().enumerate() {
            let mut sum = [HALF; CHUNK];
            for (weight, row) in weights.iter().zip(rows.chunks_exact(row_bytes)) {
                for (sum, value) in sum.iter_mut().zip(&row[position * CHUNK..][..CHUNK]) {
                    *sum += weight * i32::from(*value);
                }
            }
            for (out, sum) in chunk.iter_mut().zip(&sum) {
                *out = to_byte(*sum);
            }
        }
        for (column, out) in tail.iter_mut().enumerate() {
            let values = rows
                .chunks_exact(row_bytes)
                .map(|row| i32::from(row[tail_start + column]));
            *out = to_byte(
                weights
                    .iter()
                    .zip(values)
                    .fold(HALF, |sum, (weight, value)| sum + weight * value),
            );
        }
    }
    out
}

/// Converts a fixed-point sum to a byte, clamped to 0 to 255.
#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Interleaves eight rows byte by byte: `out[8 * i + r] = rows[r][i]`.
#[inline(always)]
fn interleave(rows: [&[u8]; ROWS], out: &mut [u8]) {
    let rows = rows.map(|row| row.as_chunks::<8>());
    let whole = rows[0].0.len();
    let (blocks, tail) = out.split_at_mut(whole * 64);
    for (index, block) in blocks.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let square = transpose_bytes(rows.map(|(words, _)| u64::from_le_bytes(words[index])));
        for (out, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(square) {
            *out = word.to_le_bytes();
        }
    }
    for (index, out) in tail.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *out = rows.map(|(_, rest)| rest[index]);
    }
}

/// Inverts [`interleave`] into the rows of `row_bytes` that `out` holds (at most eight).
#[inline(always)]
fn deinterleave(interleaved: &[u8], out: &mut [u8], row_bytes: usize) {
    let (words, _) = interleaved.as_chunks::<8>();
    let (squares, tail) = words.as_chunks::<8>();
    for (index, square) in squares.iter().enumerate() {
        let square = transpose_bytes(square.map(u64::from_le_bytes));
        for (row, word) in out.chunks_exact_mut(row_bytes).zip(square) {
            row[index * 8..index * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
    for (index, word) in tail.iter().enumerate() {
        for (row, byte) in out.chunks_exact_mut(row_bytes).zip(word) {
            row[squares.len() * 8 + index] = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 12345u32;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    /// Resizes the whole image pixel by pixel, in the order of Pillow's C code.
    fn reference_resize(pixels: &[u8], width: usize, height: usize, to: (usize, usize)) -> Vec<u8> {
        let whole = |input_len, output_len| AxisResampling {
            input_len,
            output_len: output_len as u64,
            window_start: 0,
            window_len: output_len,
            filter: Filter::Bicubic,
        };
        let sum = |taps: &Taps, index: usize, value: &dyn Fn(usize) -> u8| {
            let (first, weights) = taps.at(index);
            let terms = weights
                .iter()
                .enumerate()
                .map(|(i, w)| i64::from(*w) * i64::from(value(first + i)));
            ((terms.sum::<i64>() + i64::from(HALF)) >> PRECISION_BITS).clamp(0, 255) as u8
        };
        let (horizontal, vertical) = (
            Taps::new(whole(width, to.0)),
            Taps::new(whole(height, to.1)),
        );
        let mut rows = vec![0; height * to.0 * 3];
        for (i, out) in rows.iter_mut().enumerate() {
            let (y, x, c) = (i / 3 / to.0, i / 3 % to.0, i % 3);
            *out = sum(&horizontal, x, &|column| {
                pixels[(y * width + column) * 3 + c]
            });
        }
        (0..to.1 * to.0 * 3)
            .map(|i| {
                sum(&vertical, i / 3 / to.0, &|row| {
                    rows[row * to.0 * 3 + i % (to.0 * 3)]
                })
            })
            .collect()
    }

    #[test]
    fn a_window_equals_that_part_of_the_whole_resized_image() {
        for (width, height, to, offset, length) in [
            (37, 29, (53, 41), (9, 3), (32, 37)),
            (101, 67, (48, 32), (8, 0), (32, 32)),
            (5, 19, (7, 26), (0, 10), (7, 7)),
            (64, 3, (448, 21), (200, 0), (21, 21)),
        ] {
            let pixels = noise(width * height * 3);
            let whole = reference_resize(&pixels, width, height, to);
            let axis =
                |input_len, output_len: usize, window_start: u64, window_len| AxisResampling {
                    input_len,
                    output_len: output_len as u64,
                    window_start,
                    window_len,
                    filter: Filter::Bicubic,
                };
            let part = resample_window(
                &pixels,
                axis(width, to.0, offset.0, length.0),
                axis(height, to.1, offset.1, length.1),
                PassOrder::HorizontalFirst,
            );
            for (y, row) in part.chunks_exact(length.0 * 3).enumerate() {
                let start = ((offset.1 as usize + y) * to.0 + offset.0 as usize) * 3;
                assert_eq!(
                    row,
                    &whole[start..start + row.len()],
                    "row {y} of {width}x{height}"
                );
            }
        }
    }

    #[test]
    fn weights_sum_to_one() {
        for (input, output) in [(3, 224), (1000, 224), (1, 224), (225, 224)] {
            let taps = Taps::new(AxisResampling {
                input_len: input,
                output_len: output,
                window_start: 0,
                window_len: output as usize,
                filter: Filter::Bicubic,
            });
            for index in 0..taps.len() {
                let (_, weights) = taps.at(index);
                let total: i32 = weights.iter().sum();
                // Each weight is rounded to the nearest integer.
                let bound = weights.len() as i32 / 2;
                assert!(
                    (total - (1 << PRECISION_BITS)).abs() <= bound,
                    "{input}->{output} at {index}: {total}"
                );
            }
        }
    }

    #[test]
    fn deinterleaving_inverts_interleaving() {
        let bytes = noise(8 * 27);
        let rows: [&[u8]; 8] = std::array::from_fn(|row| &bytes[row * 27..][..27]);
        let mut interleaved = vec![0; bytes.len()];
        interleave(rows, &mut interleaved);
        assert_eq!(interleaved[8 * 13 + 5], rows[5][13]);
        assert_eq!(interleaved[8 * 26 + 2], rows[2][26]);
        let mut back = vec![0; bytes.len()];
        deinterleave(&interleaved, &mut back, 27);
        assert_eq!(back, bytes);
    }
}
