//! Small matrix products in any floating-point type. One thread sums each row of a result in a
//! fixed order, so results do not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use clipn_base::simd::vectorized;
use clipn_model::Real;

/// Number of values summed in parallel lanes: one AVX-512 register of f32.
const LANES: usize = 16;
/// Number of rows multiplied at a time, so that additions of different rows overlap in the
/// pipeline.
const ROWS: usize = 4;

/// Returns a·bᵀ `[n, m]` of rows a `[n, dim]` and b `[m, dim]`.
pub(crate) fn matmul_transposed<T: Real>(a: &[T], b: &[T], dim: usize) -> Vec<T> {
    let columns = b.len() / dim;
    let mut out = vec![T::zero(); a.len() / dim * columns];
    out.par_chunks_mut(columns.max(1))
        .zip(a.par_chunks(dim))
        .for_each(|(out, a)| {
            vectorized(
                #[inline(always)]
                || {
                    for (out, b) in out.chunks_mut(ROWS).zip(b.chunks(ROWS * dim)) {
                        if out.len() == ROWS {
                            let (b0, b) = b.split_at(dim);
                            let (b1, b) = b.split_at(dim);
                            let (b2, b3) = b.split_at(dim);
                            out.copy_from_slice(&dot_four(a, [b0, b1, b2, b3]));
                        } else {
                            for (out, b) in out.iter_mut().zip(b.chunks(dim)) {
                                *out = dot_four(a, [b, b, b, b])[0];
                            }
                        }
                    }
                },
            );
        });
    out
}

/// Returns the dot product of `a` with each of four rows.
#[inline(always)]
fn dot_four<T: Real>(a: &[T], b: [&[T]; ROWS]) -> [T; ROWS] {
    let mut sums = [[T::zero(); LANES]; ROWS];
    let (whole, rest) = a.as_chunks::<LANES>();
    let parts = b.map(|b| b.as_chunks::<LANES>());
    for (index, a) in whole.iter().enumerate() {
        for (sums, (b, _)) in sums.iter_mut().zip(&parts) {
            if let Some(b) = b.get(index) {
                for lane in 0..LANES {
                    sums[lane] = sums[lane] + a[lane] * b[lane];
                }
            }
        }
    }
    let mut out = [T::zero(); ROWS];
    for ((out, sums), (_, b)) in out.iter_mut().zip(&sums).zip(&parts) {
        let tail: T = rest.iter().zip(b.iter()).map(|(&a, &b)| a * b).sum();
        *out = sums.iter().copied().sum::<T>() + tail;
    }
    out
}

/// Returns the dot product of each pair of rows of a and b `[n, dim]`: `[n]`.
pub(crate) fn row_dots<T: Real>(a: &[T], b: &[T], dim: usize) -> Vec<T> {
    let pair = |(a, b): (&[T], &[T])| dot_four(a, [b, b, b, b])[0];
    a.par_chunks(dim).zip(b.par_chunks(dim)).map(pair).collect()
}

/// Returns rows `rows` of scale·c·b, for c `[n, m]` and b `[m, dim]`.
pub(crate) fn combine<T: Real>(
    c: &[T],
    b: &[T],
    dim: usize,
    rows: Range<usize>,
    scale: T,
) -> Vec<T> {
    let columns = b.len() / dim;
    weighted_sums(
        rows,
        dim,
        |row| c[row * columns..(row + 1) * columns].iter().copied(),
        b,
        scale,
    )
}

/// Returns rows `rows` of scale·cᵀ·a, for c `[n, m]` and a `[n, dim]`.
pub(crate) fn combine_transposed<T: Real>(
    c: &[T],
    a: &[T],
    dim: usize,
    rows: Range<usize>,
    scale: T,
) -> Vec<T> {
    let columns = c.len() / (a.len() / dim).max(1);
    weighted_sums(
        rows,
        dim,
        |row| c[row..].iter().step_by(columns).copied(),
        a,
        scale,
    )
}

/// Returns for each row scale times the sum of the rows of `b` weighted by `weights(row)`.
fn weighted_sums<T: Real, I: Iterator<Item = T>>(
    rows: Range<usize>,
    dim: usize,
    weights: impl Fn(usize) -> I + Sync,
    b: &[T],
    scale: T,
) -> Vec<T> {
    let mut out = vec![T::zero(); rows.len() * dim];
    out.par_chunks_mut(dim).zip(rows).for_each(|(out, row)| {
        let weights: Vec<T> = weights(row).map(|w| scale * w).collect();
        vectorized(
            #[inline(always)]
            || {
                for (w, b) in weights.chunks(ROWS).zip(b.chunks(ROWS * dim)) {
                    add_weighted(out, w, b);
                }
            },
        );
    });
    out
}

/// Adds up to four weighted rows; exactly four are added in one pass.
#[inline(always)]
fn add_weighted<T: Real>(out: &mut [T], weights: &[T], b: &[T]) {
    let dim = out.len();
    if let &[w0, w1, w2, w3] = weights {
        let (b0, b) = b.split_at(dim);
        let (b1, b) = b.split_at(dim);
        let (b2, b3) = b.split_at(dim);
        for ((((out, &b0), &b1), &b2), &b3) in out.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
            *out = *out + ((w0 * b0 + w1 * b1) + (w2 * b2 + w3 * b3));
        }
    } else {
        for (&w, b) in weights.iter().zip(b.chunks(dim)) {
            for (out, &b) in out.iter_mut().zip(b) {
                *out = *out + w * b;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f64> {
        (0..count)
            .map(|i| (((i * 7919 + seed * 104_729) % 2003) as f64 - 1001.0) / 700.0)
            .collect()
    }

    proptest! {
        #[test]
        fn products_agree_with_their_definitions(n in 1usize..11, m in 1usize..11, dim in 1usize..40) {
            let (a, b, c) = (values(n * dim, 1), values(m * dim, 2), values(n * m, 3));
            let close = |found: &[f64], at: &dyn Fn(usize) -> f64| {
                found.iter().enumerate().all(|(i, f)| (f - at(i)).abs() < 1e-11)
            };
            let dot = |i: usize, j: usize| (0..dim).map(|k| a[i * dim + k] * b[j * dim + k]).sum::<f64>();
            prop_assert!(close(&matmul_transposed(&a, &b, dim), &|at| dot(at / m, at % m)));
            let shared = n.min(m);
            let pairs = row_dots(&a[..shared * dim], &b[..shared * dim], dim);
            prop_assert!(close(&pairs, &|at| dot(at, at)));
            let first = n / 2;
            let rows = combine(&c, &b, dim, first..n, 2.0);
            prop_assert_eq!(rows.len(), (n - first) * dim);
            let weighted = |i: usize, k: usize| (0..m).map(|j| 2.0 * c[i * m + j] * b[j * dim + k]).sum();
            prop_assert!(close(&rows, &|at| weighted(first + at / dim, at % dim)));
            let rows = combine_transposed(&c, &a, dim, 0..m, 0.5);
            let weighted = |j: usize, k: usize| (0..n).map(|i| 0.5 * c[i * m + j] * a[i * dim + k]).sum();
            prop_assert!(close(&rows, &|at| weighted(at / dim, at % dim)));
        }
    }
}
