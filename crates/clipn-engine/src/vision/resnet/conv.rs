use clipn_base::simd::vectorized;
use clipn_model::ConvParams;

use super::grid::MapSize;
use crate::kernels::{Epilogue, Matrix, MatrixMut, gemm};

/// Added to the variance in every batch norm.
const EPS: f64 = 1e-5;

/// Intended number of values per part of a feature map, so that the operation after a product finds
/// its result in cache.
const PART_VALUES: usize = 1 << 18;

/// Minimum number of rows per part: with fewer rows, reading the weights again for each part costs
/// more than it saves.
const MIN_PART_ROWS: usize = 256;

/// A convolution with its batch norm folded into weights and bias.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    /// `[kernel²·inner, out]`, with the kernel positions outermost.
    weight: Vec<f32>,
    /// `[out]`.
    bias: Vec<f32>,
    inner: usize,
    out: usize,
}

/// Term added to the output of a convolution before the ReLU.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shortcut<'a> {
    /// No term.
    None,
    /// A feature map, `[rows, out]`: the identity shortcut of a bottleneck block.
    Identity(&'a [f32]),
    /// Another 1×1 convolution, of another feature map: the projection shortcut of a bottleneck
    /// block.
    Projection(&'a Conv, &'a [f32]),
}

impl Conv {
    /// Folds the batch norm into the weights, in f64: w·s and b − mean·s, with s = weight /
    /// √(variance + ε).
    pub(crate) fn new(params: &ConvParams<f32>) -> Self {
        let &ConvParams {
            in_channels: inner,
            out_channels: out,
            kernel_size: kernel,
            batch_norm: ref norm,
            ..
        } = params;
        let scale: Vec<f64> = norm
            .weight
            .iter()
            .zip(&*norm.running_var)
            .map(|(&weight, &variance)| f64::from(weight) / (f64::from(variance) + EPS).sqrt())
            .collect();
        let shift = norm.bias.iter().zip(&*norm.running_mean).zip(&scale);
        let bias = shift
            .map(|((&bias, &mean), scale)| (f64::from(bias) - f64::from(mean) * scale) as f32)
            .collect();
        let area = kernel * kernel;
        let mut weight = vec![0.0; params.weight.len()];
        for (o, (filter, scale)) in params
            .weight
            .chunks_exact(inner * area)
            .zip(&scale)
            .enumerate()
        {
            for (i, &value) in filter.iter().enumerate() {
                let (channel, position) = (i / area, i % area);
                weight[(position * inner + channel) * out + o] = (f64::from(value) * scale) as f32;
            }
        }
        Self {
            weight,
            bias,
            inner,
            out,
        }
    }

    /// Number of input channels.
    pub(crate) fn inner(&self) -> usize {
        self.inner
    }

    /// Number of output channels.
    pub(crate) fn out(&self) -> usize {
        self.out
    }

    /// Computes a 1×1 convolution of `x`, `[rows, inner]`, into `y`, `[rows, out]`, adds
    /// `shortcut`, and applies ReLU.
    pub(crate) fn conv1x1(
        &self,
        y: &mut Vec<f32>,
        x: &[f32],
        shortcut: Shortcut<'_>,
        threads: usize,
    ) {
        let rows = x.len() / self.inner;
        reset(y, rows * self.out);
        let part = part_rows(self.out.max(self.inner));
        for (index, y) in y.chunks_mut(part * self.out).enumerate() {
            let first = index * part;
            let rows = first..first + y.len() / self.out;
            self.multiply(
                y,
                &x[rows.start * self.inner..rows.end * self.inner],
                false,
                threads,
            );
            match shortcut {
                Shortcut::None => add_bias_and_relu(y, &self.bias),
                Shortcut::Identity(map) => {
                    add_map_bias_and_relu(
                        y,
                        &map[rows.start * self.out..rows.end * self.out],
                        &self.bias,
                    );
                }
                Shortcut::Projection(conv, x) => {
                    let x = &x[rows.start * conv.inner..rows.end * conv.inner];
                    conv.multiply(y, x, true, threads);
                    let bias: Vec<f32> = self
                        .bias
                        .iter()
                        .zip(&conv.bias)
                        .map(|(a, b)| a + b)
                        .collect();
                    add_bias_and_relu(y, &bias);
                }
            }
        }
    }

    /// Computes a 3×3 convolution with padding 1 of feature maps, `[images, size, inner]`, into
    /// `y`, `[images, size / stride, out]`, and applies ReLU. `columns` is a buffer for the
    /// gathered neighborhoods.
    pub(crate) fn conv3x3(
        &self,
        y: &mut Vec<f32>,
        x: &[f32],
        size: MapSize,
        stride: usize,
        columns: &mut Vec<f32>,
        threads: usize,
    ) {
        let to = if stride == 1 { size } else { size.strided() };
        let images = x.len() / (size.area() * self.inner);
        let rows = images * to.area();
        reset(y, rows * self.out);
        let gathered = 9 * self.inner;
        let part = part_rows(gathered);
        for (index, y) in y.chunks_mut(part * self.out).enumerate() {
            let first = index * part;
            reset(columns, y.len() / self.out * gathered);
            for (row, gathered) in (first..).zip(columns.chunks_exact_mut(gathered)) {
                let (image, position) = (row / to.area(), row % to.area());
                let map = &x[image * size.area() * self.inner..][..size.area() * self.inner];
                let (top, left) = (position / to.width * stride, position % to.width * stride);
                gather(gathered, map, size, self.inner, (top, left));
            }
            self.multiply(y, columns, false, threads);
            add_bias_and_relu(y, &self.bias);
        }
    }

    /// Computes y = x·weight, or y += x·weight if `accumulate`.
    fn multiply(&self, y: &mut [f32], x: &[f32], accumulate: bool, threads: usize) {
        let inner = self.weight.len() / self.out;
        let (x, weight) = (
            Matrix::row_major(x, inner),
            Matrix::row_major(&self.weight, self.out),
        );
        gemm(
            MatrixMut::row_major(y, self.out),
            x,
            weight,
            Epilogue {
                accumulate,
                ..Epilogue::default()
            },
            threads,
        );
    }
}

/// Returns the number of rows per part for rows of `values` values.
fn part_rows(values: usize) -> usize {
    (PART_VALUES / values).max(MIN_PART_ROWS)
}

/// Resizes `buffer` to `length` values, whose contents are unspecified.
pub(super) fn reset(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}

/// Copies the 3×3 neighborhood of the position (row, column) of a feature map, `[9, channels]`,
/// with zeros beyond the border.
fn gather(
    out: &mut [f32],
    map: &[f32],
    MapSize { height, width }: MapSize,
    channels: usize,
    (row, column): (usize, usize),
) {
    // The three neighbors in a row of the map are contiguous; at the border one of them is missing.
    let first = column.saturating_sub(1);
    let last = (column + 1).min(width - 1);
    let missing = usize::from(column == 0) * channels;
    let length = (last + 1 - first) * channels;
    for (dy, out) in out.chunks_exact_mut(3 * channels).enumerate() {
        match (row + dy).checked_sub(1).filter(|&y| y < height) {
            Some(y) => {
                out[..missing].fill(0.0);
                out[missing..missing + length]
                    .copy_from_slice(&map[(y * width + first) * channels..][..length]);
                out[missing + length..].fill(0.0);
            }
            None => out.fill(0.0),
        }
    }
}

fn add_bias_and_relu(x: &mut [f32], bias: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(bias.len()) {
                for (x, b) in row.iter_mut().zip(bias) {
                    *x = relu(*x + b);
                }
            }
        },
    );
}

fn add_map_bias_and_relu(x: &mut [f32], map: &[f32], bias: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (row, map) in x
                .chunks_exact_mut(bias.len())
                .zip(map.chunks_exact(bias.len()))
            {
                for ((x, m), b) in row.iter_mut().zip(map).zip(bias) {
                    *x = relu(*x + b + m);
                }
            }
        },
    );
}

/// Clamps negative values to zero, but propagates NaN, so that broken weights are noticed.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Computes the 2×2 average pooling of feature maps, `[images, size, channels]`, into
/// `[images, size / 2, channels]`.
pub(super) fn average_pool(out: &mut Vec<f32>, x: &[f32], size: MapSize, channels: usize) {
    let to = size.halved();
    let images = x.len() / (size.area() * channels);
    reset(out, images * to.area() * channels);
    if to.area() == 0 {
        return;
    }
    let wide = size.width * channels;
    vectorized(
        #[inline(always)]
        || {
            for (row, out) in out.chunks_exact_mut(to.width * channels).enumerate() {
                let (image, y) = (row / to.height, row % to.height);
                let upper = &x[(image * size.height + 2 * y) * wide..][..2 * wide];
                let (upper, lower) = upper.split_at(wide);
                let pairs = upper
                    .chunks_exact(2 * channels)
                    .zip(lower.chunks_exact(2 * channels));
                for (out, (upper, lower)) in out.chunks_exact_mut(channels).zip(pairs) {
                    let (a, b) = upper.split_at(channels);
                    let (c, d) = lower.split_at(channels);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = 0.25 * (a[i] + b[i] + c[i] + d[i]);
                    }
                }
            }
        },
    );
}
