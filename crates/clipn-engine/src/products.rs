//! Gradients of weights: products that sum over every row of a batch.

use rayon::prelude::*;

use super::kernels::{Matrix, MatrixMut, product};

/// A weight's rows are not split finer than this: a product of fewer wastes the registers.
const SMALLEST_PART: usize = 32;

/// One chunk's share of a weight's gradient: d_outᵀ·input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors<'a> {
    /// The gradient of the layer's result, `[rows, out]`.
    pub d_out: Matrix<'a>,
    /// The layer's input, `[rows, in]`.
    pub input: Matrix<'a>,
}

/// Adds to each weight's gradient, `[out, in]`, the shares of all chunks in their order. The threads take parts of the
/// gradients' rows, so none needs a gradient of its own.
pub(super) fn add_products(weights: Vec<(&mut [f32], Vec<Factors<'_>>)>) {
    let threads = rayon::current_num_threads();
    let mut jobs = Vec::new();
    for (gradient, shares) in weights {
        let Some(first) = shares.first() else {
            continue;
        };
        let (out, inner) = (first.d_out.width(), first.input.width());
        let part = out.div_ceil(threads).max(SMALLEST_PART);
        for (index, rows) in gradient.chunks_mut((part * inner).max(1)).enumerate() {
            jobs.push((rows, index * part, inner, shares.clone()));
        }
    }
    jobs.into_par_iter()
        .with_max_len(1)
        .for_each(|(gradient, first, inner, shares)| {
            let rows = gradient.len() / inner;
            for Factors { d_out, input } in shares {
                let d_out = d_out.columns(first, rows).transposed();
                product(
                    MatrixMut::packed(gradient, inner),
                    d_out,
                    input,
                    1.0,
                    true,
                    1,
                );
            }
        });
}
