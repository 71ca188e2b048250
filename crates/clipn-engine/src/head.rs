use rayon::prelude::*;

use clipn_checkpoint::Buffer;
use clipn_model::NormParams;

use super::block::ChunkTape;
use crate::kernels::{
    Epilogue, Matrix, MatrixMut, NormGradient, add, gemm, layer_norm, layer_norm_backward,
};
use crate::weight_gradient::{WeightGradientTerm, accumulate_weight_gradients};

/// Output head of a tower, from pooled rows to features: a layer norm and a projection,
/// `[width, dim]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub norm: &'a NormParams<f32>,
    pub projection: &'a [f32],
    pub dim: usize,
}

impl Head<'_> {
    /// Computes features, `[rows, dim]`, from pooled rows, `[rows, width]`.
    pub(crate) fn project(&self, out: &mut [f32], pooled: &[f32], threads: usize) {
        let mut normed = vec![0.0; pooled.len()];
        layer_norm(&mut normed, pooled, self.norm);
        let normed = Matrix::row_major(&normed, self.norm.weight.len());
        let projection = Matrix::row_major(self.projection, self.dim);
        gemm(
            MatrixMut::row_major(out, self.dim),
            normed,
            projection,
            Epilogue::default(),
            threads,
        );
    }

    /// Adds the gradients of the parameters and returns the gradient of each chunk's pooled rows,
    /// given the gradient of the features of all chunks, `[N, dim]`.
    pub(crate) fn backward(
        &self,
        tapes: &[ChunkTape],
        d_features: &[f32],
        d_norm: &mut NormParams<f32>,
        d_projection: &mut Buffer<f32>,
    ) -> Vec<Vec<f32>> {
        let width = self.norm.weight.len();
        let mut rest = d_features;
        let mut chunks: Vec<(&[f32], &[f32])> = Vec::with_capacity(tapes.len());
        for tape in tapes {
            let (mine, others) = rest.split_at(tape.sequences.len() * self.dim);
            chunks.push((&tape.pooled, mine));
            rest = others;
        }
        let back = |&(pooled, d_features): &(&[f32], &[f32])| {
            let mut normed = vec![0.0; pooled.len()];
            let projection = Matrix::row_major(self.projection, self.dim).transposed();
            let d_features = Matrix::row_major(d_features, self.dim);
            gemm(
                MatrixMut::row_major(&mut normed, width),
                d_features,
                projection,
                Epilogue::default(),
                1,
            );
            let (mut d_pooled, mut d_weight, mut d_bias) =
                (vec![0.0; pooled.len()], vec![0.0; width], vec![0.0; width]);
            let gradient = NormGradient {
                weight: &mut d_weight,
                bias: &mut d_bias,
            };
            layer_norm_backward(&mut d_pooled, &mut normed, pooled, self.norm, gradient);
            (d_pooled, normed, d_weight, d_bias)
        };
        let done: Vec<_> = chunks.par_iter().map(back).collect();
        let terms = done
            .iter()
            .zip(&chunks)
            .map(|((_, normed, ..), (_, d_features))| WeightGradientTerm {
                d_out: Matrix::row_major(normed, width),
                input: Matrix::row_major(d_features, self.dim),
            });
        accumulate_weight_gradients(vec![(d_projection.make_mut(), terms.collect())]);
        for (.., d_weight, d_bias) in &done {
            add(d_norm.weight.make_mut(), d_weight);
            add(d_norm.bias.make_mut(), d_bias);
        }
        done.into_iter().map(|(d_pooled, ..)| d_pooled).collect()
    }
}
