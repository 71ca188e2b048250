use std::ops::Range;

use clipn_checkpoint::Buffer;
use clipn_model::{BlockParams, LinearParams};

use crate::kernels::{Epilogue, Matrix, MatrixMut, PackedB, Rhs, gemm};

/// A linear layer, x·weightᵀ + bias, or a range of its outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear<'a> {
    /// weightᵀ, `[inner, outputs]`.
    weight: Rhs<'a>,
    /// `[outputs]`, or empty for no bias.
    bias: &'a [f32],
    inner: usize,
}

impl<'a> Linear<'a> {
    /// Creates a layer from a range of outputs of unpacked weights.
    fn unpacked(params: &'a LinearParams<f32>, outputs: Range<usize>) -> Self {
        let (weight, inner) = transposed(params, &outputs);
        Self {
            weight: weight.into(),
            bias: &params.bias[outputs],
            inner,
        }
    }

    fn packed(packed: &'a PackedB, bias: &'a [f32]) -> Self {
        Self {
            weight: packed.into(),
            bias,
            inner: packed.rows(),
        }
    }

    /// Returns the layer without its bias.
    pub(crate) fn without_bias(self) -> Self {
        Self { bias: &[], ..self }
    }

    /// Computes out = layer(input), plus the previous value of `out` if `accumulate`, from
    /// `[rows, inner]` to `[rows, outputs]`.
    pub(crate) fn apply(&self, out: &mut [f32], input: &[f32], accumulate: bool, threads: usize) {
        let out = MatrixMut::row_major(out, self.weight.columns());
        let input = Matrix::row_major(input, self.inner);
        gemm(
            out,
            input,
            self.weight,
            Epilogue {
                bias: self.bias,
                accumulate,
                ..Epilogue::default()
            },
            threads,
        );
    }

    /// Same as [`Linear::apply`], but writes the columns from `first_column` on of an `out` with
    /// rows of `row_stride` values.
    pub(crate) fn apply_to_columns(
        &self,
        out: &mut [f32],
        first_column: usize,
        row_stride: usize,
        input: &[f32],
        threads: usize,
    ) {
        let input = Matrix::row_major(input, self.inner);
        let first = first_column.min(out.len());
        let out = MatrixMut::new(
            &mut out[first..],
            input.rows(),
            self.weight.columns(),
            row_stride,
        );
        gemm(
            out,
            input,
            self.weight,
            Epilogue {
                bias: self.bias,
                ..Epilogue::default()
            },
            threads,
        );
    }
}

/// Returns weightᵀ for a range of outputs of a layer, and the number of inputs.
fn transposed<'a>(params: &'a LinearParams<f32>, outputs: &Range<usize>) -> (Matrix<'a>, usize) {
    let inner = params.weight.len() / params.bias.len().max(1);
    let weight = &params.weight[outputs.start * inner..outputs.end * inner];
    (Matrix::row_major(weight, inner).transposed(), inner)
}

/// Weights of the linear layers of a block, packed for matrix products in advance.
#[derive(Debug, Clone)]
pub(crate) struct PackedBlock {
    queries: PackedB,
    keys_and_values: PackedB,
    out_proj: PackedB,
    c_fc: PackedB,
    c_proj: PackedB,
}

/// Whether to keep the unpacked weights after packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnpackedWeights {
    /// Keep them, for example to write a checkpoint.
    Keep,
    /// Remove them from the parameters.
    Drop,
}

/// Packs the weights of all blocks, block by block.
///
/// Pages of weights in a memory-mapped file are released as it proceeds, so that the weights are
/// not in memory twice.
pub(crate) fn pack_blocks(
    blocks: &mut [BlockParams<f32>],
    unpacked: UnpackedWeights,
) -> Vec<PackedBlock> {
    let mut all = Vec::with_capacity(blocks.len());
    for block in blocks {
        all.push(PackedBlock::pack(block));
        if unpacked == UnpackedWeights::Drop {
            for layer in [
                &mut block.in_proj,
                &mut block.out_proj,
                &mut block.c_fc,
                &mut block.c_proj,
            ] {
                layer.weight = Buffer::default();
            }
        }
    }
    all
}

impl PackedBlock {
    fn pack(params: &BlockParams<f32>) -> Self {
        let width = params.ln_1.weight.len();
        let pack = |layer: &LinearParams<f32>, outputs: Range<usize>| {
            let packed = PackedB::pack(transposed(layer, &outputs).0);
            layer.weight.release();
            packed
        };
        let whole = |layer: &LinearParams<f32>| pack(layer, 0..layer.bias.len());
        Self {
            queries: pack(&params.in_proj, 0..width),
            keys_and_values: pack(&params.in_proj, width..3 * width),
            out_proj: whole(&params.out_proj),
            c_fc: whole(&params.c_fc),
            c_proj: whole(&params.c_proj),
        }
    }
}

/// The linear layers of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockLayers<'a> {
    pub queries: Linear<'a>,
    pub keys_and_values: Linear<'a>,
    pub out_proj: Linear<'a>,
    pub c_fc: Linear<'a>,
    pub c_proj: Linear<'a>,
}

impl<'a> BlockLayers<'a> {
    /// Uses the packed weights if there are any, else the unpacked ones.
    pub(crate) fn new(params: &'a BlockParams<f32>, packed: Option<&'a PackedBlock>) -> Self {
        let BlockParams {
            ln_1,
            in_proj,
            out_proj,
            c_fc,
            c_proj,
            ..
        } = params;
        let width = ln_1.weight.len();
        let Some(packed) = packed else {
            let whole = |layer: &'a LinearParams<f32>| Linear::unpacked(layer, 0..layer.bias.len());
            return Self {
                queries: Linear::unpacked(in_proj, 0..width),
                keys_and_values: Linear::unpacked(in_proj, width..3 * width),
                out_proj: whole(out_proj),
                c_fc: whole(c_fc),
                c_proj: whole(c_proj),
            };
        };
        let (query_bias, kv_bias) = in_proj.bias.split_at(width);
        Self {
            queries: Linear::packed(&packed.queries, query_bias),
            keys_and_values: Linear::packed(&packed.keys_and_values, kv_bias),
            out_proj: Linear::packed(&packed.out_proj, &out_proj.bias),
            c_fc: Linear::packed(&packed.c_fc, &c_fc.bias),
            c_proj: Linear::packed(&packed.c_proj, &c_proj.bias),
        }
    }
}
