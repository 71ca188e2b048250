//! Compute kernels. Elementwise kernels are plain loops that the compiler vectorizes once per SIMD
//! level; [`clipn_base::simd`] selects the level at run time. The GEMM micro-kernel is written with
//! explicit vectors.

mod activation;
mod aligned;
mod attention;
mod exp;
mod gemm;
mod int8;
mod jobs;
mod matrix;
mod norm;
mod softmax;

pub(crate) use activation::{activate_backward, activate_into};
pub(crate) use attention::{HeadScratch, Queries, RowLayout, RowsMut, RowsRef};
pub(crate) use gemm::{Epilogue, PackedB, Rhs, gemm};
pub(crate) use int8::{QuantizedB, QuantizedRows, gemm_int8};
pub(crate) use jobs::OutputPtr;
pub(crate) use matrix::{Matrix, MatrixMut};
pub(crate) use norm::{NormGradient, layer_norm, layer_norm_backward};
pub(crate) use softmax::{masked_softmax, softmax_backward};

use clipn_base::simd::vectorized;

/// Number of parallel accumulators in reductions: one AVX-512 register of f32.
const LANES: usize = 16;

/// Returns the first `length` values of a buffer, which grows as needed and is never cleared.
pub(super) fn first_n(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// Adds a bias `[width]` to every row of `x`.
pub(super) fn add_bias(x: &mut [f32], bias: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(bias.len()) {
                for (x, b) in row.iter_mut().zip(bias) {
                    *x += b;
                }
            }
        },
    );
}

/// Adds every row of `x` to `sums`, `[width]`, as the gradient of a bias does.
pub(super) fn add_column_sums(sums: &mut [f32], x: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for row in x.chunks_exact(sums.len()) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += x;
                }
            }
        },
    );
}

/// Computes x += y elementwise.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (x, y) in x.iter_mut().zip(y) {
                *x += y;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_sums_are_added() {
        let x: Vec<f32> = (0..3 * 21).map(|i| i as f32).collect();
        let mut sums = vec![1.0; 21];
        add_column_sums(&mut sums, &x);
        for (i, sum) in sums.iter().enumerate() {
            assert_eq!(*sum, 1.0 + (3 * i + 63) as f32);
        }
    }
}
