//! Gradients of weight matrices: matrix products that sum over all rows of a batch.
use rayon::prelude::*;

use crate::kernels::{Epilogue, Matrix, MatrixMut, gemm};

/// Minimum number of weight rows per job: a product with fewer rows wastes registers.
const MIN_ROWS_PER_JOB: usize = 32;

/// Operands of one chunk's contribution to the gradient of a weight: d_outᵀ·input.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightGradientTerm<'a> {
    /// Gradient of the layer's output, `[rows, out]`.
    pub d_out: Matrix<'a>,
    /// Input of the layer, `[rows, in]`.
    pub input: Matrix<'a>,
}

/// Adds the contributions of all chunks to the gradient of each weight, `[out, in]`, in the order
/// of the chunks.
///
/// The threads split the rows of the gradients, so that no thread needs a gradient of its own.
pub(super) fn accumulate_weight_gradients(weights: Vec<(&mut [f32], Vec<WeightGradientTerm<'_>>)>) {
    let threads = rayon::current_num_threads();
    let mut jobs = Vec::new();
    for (gradient, terms) in weights {
        let Some(first) = terms.first() else {
            continue;
        };
        let (out, inner) = (first.d_out.columns(), first.input.columns());
        let rows_per_job = out.div_ceil(threads).max(MIN_ROWS_PER_JOB);
        for (index, rows) in gradient
            .chunks_mut((rows_per_job * inner).max(1))
            .enumerate()
        {
            jobs.push((rows, index * rows_per_job, inner, terms.clone()));
        }
    }
    jobs.into_par_iter()
        .with_max_len(1)
        .for_each(|(gradient, first, inner, terms)| {
            let rows = gradient.len() / inner;
            for WeightGradientTerm { d_out, input } in terms {
                let d_out = d_out.column_range(first, rows).transposed();
                gemm(
                    MatrixMut::row_major(gradient, inner),
                    d_out,
                    input,
                    Epilogue {
                        accumulate: true,
                        ..Epilogue::default()
                    },
                    1,
                );
            }
        });
}
