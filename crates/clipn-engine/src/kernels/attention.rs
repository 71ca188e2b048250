use pulp::{Simd, WithSimd};

use super::LANES;
use super::Matrix;
use super::aligned::AlignedVec;
use super::gemm::{LeftRows, MR, PanelKernel, PanelRows, PanelWidth, transpose};
use super::softmax::{masked_softmax, softmax_row};

/// Unroll factor over vectors or keys: the number of independent accumulators.
const UNROLL: usize = 4;

/// Layout of rows in a slice: row r is the `width` values at `start + r·stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowLayout {
    pub start: usize,
    pub stride: usize,
    pub width: usize,
}

impl RowLayout {
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let first = self.start + row * self.stride;
        first..first + self.width
    }
}

/// Rows of a slice, to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowsRef<'a> {
    pub data: &'a [f32],
    pub layout: RowLayout,
}

/// Rows of a slice, to write.
#[derive(Debug)]
pub(crate) struct RowsMut<'a> {
    pub data: &'a mut [f32],
    pub layout: RowLayout,
}

/// Queries of a head and the keys that they see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queries<'a> {
    pub rows: RowsRef<'a>,
    pub count: usize,
    pub scale: f32,
    /// Number of keys that the first query sees. Each following query sees one more if `causal`,
    /// and the same number otherwise.
    pub first_visible: usize,
    pub causal: bool,
}

impl Queries<'_> {
    fn visible(&self, query: usize) -> usize {
        self.first_visible + if self.causal { query } else { 0 }
    }
}

/// Intended number of logits at a time: 16 KiB, which stay in the first-level cache.
const LOGITS: usize = 4096;

/// Keys and values of one attention head, and working buffers. Rows are zero-padded to whole
/// registers.
#[derive(Debug, Default)]
pub(crate) struct HeadScratch {
    /// `[positions, padded]`, both padded to whole registers.
    keys: AlignedVec<f32>,
    /// `[positions, padded]`.
    values: AlignedVec<f32>,
    positions: usize,
    width: usize,
    padded: usize,
    /// keysᵀ, `[padded, positions]`.
    transposed_keys: AlignedVec<f32>,
    /// Logits, then probabilities, of some queries.
    logits: AlignedVec<f32>,
    query: Vec<f32>,
    sums: Vec<f32>,
}

impl HeadScratch {
    /// Copies keys and values, `width` values each, of `positions` positions into padded rows.
    pub(crate) fn gather<'a>(
        &mut self,
        width: usize,
        positions: usize,
        rows: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    ) {
        let padded = width.next_multiple_of(LANES);
        (self.width, self.padded, self.positions) = (width, padded, positions);
        let keys = self
            .keys
            .first_n(positions.next_multiple_of(LANES) * padded);
        let values = self.values.first_n(positions * padded);
        let copies = keys
            .chunks_exact_mut(padded)
            .zip(values.chunks_exact_mut(padded));
        for ((key, value), (key_copy, value_copy)) in rows.zip(copies) {
            for (copy, row) in [(key_copy, key), (value_copy, value)] {
                copy[..width].copy_from_slice(row);
                copy[width..].fill(0.0);
            }
        }
        keys[positions * padded..].fill(0.0);
    }

    /// Computes attention query by query: out = softmax(scale·q·keysᵀ)·values. Use it for single
    /// queries, for which transposing the keys does not pay off.
    pub(crate) fn attend(&mut self, out: RowsMut<'_>, queries: Queries<'_>) {
        let RowsMut { data: out, layout } = out;
        for buffer in [&mut self.query, &mut self.sums] {
            buffer.clear();
            buffer.resize(self.padded, 0.0);
        }
        for row in 0..queries.count {
            let query = &queries.rows.data[queries.rows.layout.range(row)];
            self.query[..query.len()].copy_from_slice(query);
            clipn_base::simd::current_arch().dispatch(Row {
                head: self,
                visible: queries.visible(row),
                scale: queries.scale,
            });
            out[layout.range(row)].copy_from_slice(&self.sums[..layout.width]);
        }
    }

    /// Same as [`HeadScratch::attend`], but with matrix products of several queries at a time. The
    /// result for a query does not depend on how many there are.
    ///
    /// # Safety
    ///
    /// `out` must point to an array with the rows of `layout`, `queries.count` of them, that
    /// nothing else accesses during the call.
    pub(crate) unsafe fn attend_in_tiles(
        &mut self,
        out: *mut f32,
        layout: RowLayout,
        queries: Queries<'_>,
    ) {
        let (width, padded) = (self.width, self.padded);
        let stride = self.transpose_keys();
        let panel_width = PanelWidth::current();
        let RowsRef { data, layout: from } = queries.rows;
        let tile = match queries.causal {
            // Each row computes logits up to the last visible key of its tile.
            true => MR,
            false => MR * (LOGITS / (MR * stride)).clamp(1, 4),
        };
        let (keys, values) = (self.transposed_keys.as_slice(), self.values.as_slice());
        for first in (0..queries.count).step_by(tile) {
            let rows = tile.min(queries.count - first);
            let seen = queries.visible(first + rows - 1);
            let logits = self.logits.first_n(rows * stride);
            let kernel = PanelKernel {
                out: logits.as_mut_ptr(),
                out_stride: stride,
                a: LeftRows {
                    data: &data[from.start + first * from.stride..],
                    row_stride: from.stride,
                    depth_stride: 1,
                },
                rows,
                panel: PanelRows {
                    data: keys,
                    stride,
                    next: &[],
                },
                depth: width,
                columns: 0,
                alpha: queries.scale,
                bias: &[],
                accumulate: false,
                activation: None,
            };
            for start in (0..seen).step_by(panel_width.nr) {
                let columns = (seen - start).min(panel_width.nr);
                // SAFETY: the logits have `rows` rows of `stride` values, to which the positions
                // are padded.
                unsafe {
                    PanelKernel {
                        out: kernel.out.add(start),
                        panel: kernel.panel.skip_columns(start),
                        columns: panel_width.padded(columns),
                        ..kernel
                    }
                    .run();
                }
            }
            masked_softmax(logits, stride, |row| queries.visible(first + row));
            let kernel = PanelKernel {
                a: LeftRows {
                    data: logits,
                    row_stride: stride,
                    depth_stride: 1,
                },
                out_stride: layout.stride,
                panel: PanelRows {
                    data: values,
                    stride: padded,
                    next: &[],
                },
                depth: seen,
                alpha: 1.0,
                ..kernel
            };
            for start in (0..width).step_by(panel_width.nr) {
                // SAFETY: the caller guarantees exclusive access to the rows of `layout`.
                unsafe {
                    PanelKernel {
                        out: out.add(layout.start + first * layout.stride + start),
                        panel: kernel.panel.skip_columns(start),
                        columns: (width - start).min(panel_width.nr),
                        ..kernel
                    }
                    .run();
                }
            }
        }
    }

    /// Transposes the keys and returns the distance of the rows.
    fn transpose_keys(&mut self) -> usize {
        let positions = self.positions.next_multiple_of(LANES);
        // Rows 2 KiB apart would share few sets of the cache.
        let stride = positions
            + if positions.is_multiple_of(512) {
                LANES
            } else {
                0
            };
        let keys = &self.keys.as_slice()[..positions * self.padded];
        let transposed = self.transposed_keys.first_n(self.padded * stride);
        transpose(transposed, stride, Matrix::row_major(keys, self.padded));
        stride
    }
}

/// Attention of one query: reads `head.query` and writes `head.sums`.
struct Row<'a> {
    head: &'a mut HeadScratch,
    visible: usize,
    scale: f32,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let HeadScratch {
            keys,
            values,
            padded,
            query,
            sums,
            logits: weights,
            ..
        } = self.head;
        let vectors = *padded / S::F32_LANES;
        let weights = weights.first_n(self.visible);
        let (keys, values) = (keys.as_slice(), values.as_slice());
        let ((keys, _), (values, _)) = (S::as_simd_f32s(keys), S::as_simd_f32s(values));
        let ((query, _), (sums, _)) = (S::as_simd_f32s(query), S::as_mut_simd_f32s(sums));
        logits(simd, weights, query, keys, vectors);
        for weight in weights.iter_mut() {
            *weight *= self.scale;
        }
        softmax_row(weights);
        weighted_sum(simd, sums, weights, values, vectors);
    }
}

/// Computes the dot product of a query with each key.
#[inline(always)]
fn logits<S: Simd>(simd: S, out: &mut [f32], query: &[S::f32s], keys: &[S::f32s], vectors: usize) {
    let (groups, rest) = out.as_chunks_mut::<UNROLL>();
    let mut keys = keys.chunks_exact(vectors);
    for group in groups {
        let mut key = || keys.next().unwrap_or(query);
        let four: [&[S::f32s]; UNROLL] = [key(), key(), key(), key()];
        let mut sums = [simd.splat_f32s(0.0); UNROLL];
        for (v, query) in query.iter().enumerate() {
            for i in 0..UNROLL {
                sums[i] = simd.mul_add_e_f32s(*query, four[i][v], sums[i]);
            }
        }
        // A loop instead of `map`: the SIMD instructions would not be inlined into its closure.
        for i in 0..UNROLL {
            group[i] = simd.reduce_sum_f32s(sums[i]);
        }
    }
    for (out, key) in rest.iter_mut().zip(keys) {
        let mut sum = simd.splat_f32s(0.0);
        for (query, key) in query.iter().zip(key) {
            sum = simd.mul_add_e_f32s(*query, *key, sum);
        }
        *out = simd.reduce_sum_f32s(sum);
    }
}

/// Computes out = Σ weight·row over the rows of `values`.
#[inline(always)]
fn weighted_sum<S: Simd>(
    simd: S,
    out: &mut [S::f32s],
    weights: &[f32],
    values: &[S::f32s],
    vectors: usize,
) {
    let (groups, rest) = out.as_chunks_mut::<UNROLL>();
    let done = groups.len() * UNROLL;
    for (index, group) in groups.iter_mut().enumerate() {
        let mut sums = [simd.splat_f32s(0.0); UNROLL];
        for (weight, row) in weights.iter().zip(values.chunks_exact(vectors)) {
            let weight = simd.splat_f32s(*weight);
            let row = &row[index * UNROLL..][..UNROLL];
            for i in 0..UNROLL {
                sums[i] = simd.mul_add_e_f32s(weight, row[i], sums[i]);
            }
        }
        *group = sums;
    }
    for (index, out) in rest.iter_mut().enumerate() {
        let mut sum = simd.splat_f32s(0.0);
        for (weight, row) in weights.iter().zip(values.chunks_exact(vectors)) {
            sum = simd.mul_add_e_f32s(simd.splat_f32s(*weight), row[done + index], sum);
        }
        *out = sum;
    }
}

#[cfg(test)]
mod tests {
    use clipn_testing::condition::UNIT_ROUNDOFF;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            rows in 1usize..40, before in 0usize..20, width in 1usize..150, gap in 0usize..3,
            causal: bool, in_tiles: bool,
        ) {
            let values = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 700.0).collect()
            };
            let (all, stride) = (before + rows, width + gap);
            let (q, k, v) = (values(rows * stride + 1, 1), values(all * width, 2), values(all * width, 3));
            let mut out = vec![7.0; rows * stride + 2];
            let scale = 1.0 / (width as f32).sqrt();
            let mut head = HeadScratch::default();
            head.gather(width, all, k.chunks_exact(width).zip(v.chunks_exact(width)));
            let layout = RowLayout { start: 2, stride, width };
            let queries = Queries {
                rows: RowsRef { data: &q, layout: RowLayout { start: 1, stride, width } },
                count: rows,
                scale,
                first_visible: if causal { before + 1 } else { all },
                causal,
            };
            match in_tiles {
                // SAFETY: `out` has these rows.
                true => unsafe { head.attend_in_tiles(out.as_mut_ptr(), layout, queries) },
                false => head.attend(RowsMut { data: &mut out, layout }, queries),
            }
            for row in 0..rows {
                let seen = queries.visible(row);
                // The logits, and a bound on their errors: a sum of `width` products, scaled.
                let products = |j: usize| (0..width)
                    .map(move |i| (row * stride + 1 + i, j * width + i));
                let (mut logits, mut logit_error) = (Vec::new(), 0.0f64);
                for j in 0..seen {
                    let terms = products(j).map(|(q_at, k_at)| f64::from(q[q_at]) * f64::from(k[k_at]));
                    let (sum, magnitude) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
                    logits.push(f64::from(scale) * sum);
                    let rounding = (width + 2) as f64 * UNIT_ROUNDOFF * f64::from(scale) * magnitude;
                    logit_error = logit_error.max(rounding);
                }
                let exponentials: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
                let total: f64 = exponentials.iter().sum();
                // Relative error of a probability: its logit, the largest one, their difference, and
                // an exponential, in numerator and denominator; then two sums over the keys.
                let span = 2.0 * logits.iter().fold(0.0f64, |a, l| a.max(l.abs()));
                let exponential = 2.0 * logit_error + (span + 5.0) * UNIT_ROUNDOFF;
                let relative = 2.0 * exponential + (2 * logits.len() + 5) as f64 * UNIT_ROUNDOFF;
                for i in 0..width {
                    let terms = exponentials.iter().enumerate()
                        .map(|(j, e)| e / total * f64::from(v[j * width + i]));
                    let (expected, magnitude) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
                    let found = f64::from(out[2 + row * stride + i]);
                    // Products of errors are below a tenth of the sum.
                    let tolerance = 1.1 * relative * magnitude;
                    prop_assert!((found - expected).abs() <= tolerance, "{found} {expected}");
                }
                for i in width..stride.min(out.len() - 2 - row * stride) {
                    prop_assert_eq!(out[2 + row * stride + i], 7.0);
                }
            }
        }
    }
}
