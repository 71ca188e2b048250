use pulp::{Simd, WithSimd};

use super::softmax::softmax_row;

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

/// Keys and values of one attention head that are visible to its queries, and working buffers. Rows
/// are zero-padded to whole registers.
#[derive(Debug, Default)]
pub(crate) struct HeadScratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    padded: usize,
    query: Vec<f32>,
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl HeadScratch {
    /// Copies keys and values, `width` values each, into padded rows.
    pub(crate) fn gather<'a>(
        &mut self,
        width: usize,
        rows: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    ) {
        self.padded = width.next_multiple_of(super::LANES);
        self.keys.clear();
        self.values.clear();
        for (key, value) in rows {
            for (all, row) in [(&mut self.keys, key), (&mut self.values, value)] {
                all.extend_from_slice(row);
                all.resize(all.len() + self.padded - width, 0.0);
            }
        }
        let positions = self.keys.len() / self.padded;
        for (buffer, length) in [
            (&mut self.query, self.padded),
            (&mut self.sums, self.padded),
            (&mut self.weights, positions),
        ] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
    }

    /// Computes attention query by query: out = softmax(scale·q·keysᵀ)·values over the visible
    /// keys.
    ///
    /// The first query sees the first `first_visible` keys, and each following query sees one more.
    /// Use it for causal sequences, for which it computes only the visible part, and for sequences
    /// too short for matrix products to pay off.
    pub(crate) fn attend(
        &mut self,
        out: RowsMut<'_>,
        queries: RowsRef<'_>,
        rows: usize,
        first_visible: usize,
        scale: f32,
    ) {
        let RowsMut { data: out, layout } = out;
        for row in 0..rows {
            let query = &queries.data[queries.layout.range(row)];
            self.query[..query.len()].copy_from_slice(query);
            let visible = first_visible + row;
            clipn_base::simd::current_arch().dispatch(Row {
                head: self,
                visible,
                scale,
            });
            out[layout.range(row)].copy_from_slice(&self.sums[..layout.width]);
        }
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
            weights,
        } = self.head;
        let vectors = *padded / S::F32_LANES;
        let weights = &mut weights[..self.visible];
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
            rows in 1usize..5, before in 0usize..20, width in 1usize..150, gap in 0usize..3,
        ) {
            let values = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 700.0).collect()
            };
            let (all, stride) = (before + rows, width + gap);
            let (q, k, v) = (values(rows * stride + 1, 1), values(all * width, 2), values(all * width, 3));
            let mut out = vec![7.0; rows * stride + 2];
            let scale = 1.0 / (width as f32).sqrt();
            let mut head = HeadScratch::default();
            head.gather(width, k.chunks_exact(width).zip(v.chunks_exact(width)));
            let to = RowsMut { data: &mut out, layout: RowLayout { start: 2, stride, width } };
            let from = RowsRef { data: &q, layout: RowLayout { start: 1, stride, width } };
            head.attend(to, from, rows, before + 1, scale);
            for row in 0..rows {
                // The logits, and a bound on their errors: a sum of `width` products, scaled.
                let products = |j: usize| (0..width)
                    .map(move |i| (row * stride + 1 + i, j * width + i));
                let (mut logits, mut logit_error) = (Vec::new(), 0.0f64);
                for j in 0..=before + row {
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
