use std::ops::Range;

use crate::kernels::{Matrix, MatrixMut, Panels, Right, linear_product};
use clipn_checkpoint::Buffer;
use clipn_model::{BlockParams, LinearParams};

/// A linear layer, or some of its outputs: x·weightᵀ + bias.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear<'a> {
    /// weightᵀ, `[inner, outputs]`.
    weight: Right<'a>,
    /// `[outputs]`, or empty for none.
    bias: &'a [f32],
    inner: usize,
}

impl<'a> Linear<'a> {
    /// Some outputs of a layer as it is stored.
    fn stored(params: &'a LinearParams<f32>, outputs: Range<usize>) -> Self {
        let (weight, inner) = transposed(params, &outputs);
        Self {
            weight: Right::Matrix(weight),
            bias: &params.bias[outputs],
            inner,
        }
    }

    fn laid_out(panels: &'a Panels, bias: &'a [f32]) -> Self {
        Self {
            weight: Right::Panels(panels),
            bias,
            inner: panels.rows(),
        }
    }

    /// The same without its bias.
    pub fn without_bias(self) -> Self {
        Self { bias: &[], ..self }
    }

    /// out = layer(input), plus what `out` held where `accumulate`: from `[rows, inner]` to `[rows, outputs]`.
    pub fn apply(&self, out: &mut [f32], input: &[f32], accumulate: bool, threads: usize) {
        let out = MatrixMut::packed(out, self.weight.columns());
        let input = Matrix::packed(input, self.inner);
        linear_product(out, input, self.weight, self.bias, accumulate, threads);
    }

    /// [`Linear::apply`] to the columns of `out` from `first` on, where its rows are `stride` long.
    pub fn apply_beside(
        &self,
        out: &mut [f32],
        (first, stride): (usize, usize),
        input: &[f32],
        threads: usize,
    ) {
        let input = Matrix::packed(input, self.inner);
        let first = first.min(out.len());
        let out = MatrixMut::new(
            &mut out[first..],
            input.height(),
            self.weight.columns(),
            stride,
        );
        linear_product(out, input, self.weight, self.bias, false, threads);
    }
}

/// weightᵀ for some outputs of a layer, and its number of inputs.
fn transposed<'a>(params: &'a LinearParams<f32>, outputs: &Range<usize>) -> (Matrix<'a>, usize) {
    let inner = params.weight.len() / params.bias.len().max(1);
    let weight = &params.weight[outputs.start * inner..outputs.end * inner];
    (Matrix::packed(weight, inner).transposed(), inner)
}

/// The weights of a block's layers laid out for products once, for a tower that stays as it is.
#[derive(Debug, Clone)]
pub(crate) struct BlockPanels {
    queries: Panels,
    keys_and_values: Panels,
    out_proj: Panels,
    c_fc: Panels,
    c_proj: Panels,
}

/// What becomes of weights that were laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Originals {
    /// They stay, as they are needed for a checkpoint.
    Keep,
    /// They are taken out of the parameters.
    Drop,
}

/// Lays the weights of all blocks out, block by block. Those that lie in a mapped file are released meanwhile, so
/// as not to be in memory twice.
pub(crate) fn lay_out_blocks(
    blocks: &mut [BlockParams<f32>],
    originals: Originals,
) -> Vec<BlockPanels> {
    let mut all = Vec::with_capacity(blocks.len());
    for block in blocks {
        all.push(BlockPanels::of(block));
        if originals == Originals::Drop {
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

impl BlockPanels {
    fn of(params: &BlockParams<f32>) -> Self {
        let width = params.ln_1.weight.len();
        let lay_out = |layer: &LinearParams<f32>, outputs: Range<usize>| {
            let panels = Panels::of(transposed(layer, &outputs).0);
            layer.weight.release();
            panels
        };
        let whole = |layer: &LinearParams<f32>| lay_out(layer, 0..layer.bias.len());
        Self {
            queries: lay_out(&params.in_proj, 0..width),
            keys_and_values: lay_out(&params.in_proj, width..3 * width),
            out_proj: whole(&params.out_proj),
            c_fc: whole(&params.c_fc),
            c_proj: whole(&params.c_proj),
        }
    }
}

/// The layers of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a> {
    pub queries: Linear<'a>,
    pub keys_and_values: Linear<'a>,
    pub out_proj: Linear<'a>,
    pub c_fc: Linear<'a>,
    pub c_proj: Linear<'a>,
}

impl<'a> Layers<'a> {
    /// From weights as they are stored, or laid out.
    pub fn of(params: &'a BlockParams<f32>, panels: Option<&'a BlockPanels>) -> Self {
        let BlockParams {
            ln_1,
            in_proj,
            out_proj,
            c_fc,
            c_proj,
            ..
        } = params;
        let width = ln_1.weight.len();
        let Some(panels) = panels else {
            let whole = |layer: &'a LinearParams<f32>| Linear::stored(layer, 0..layer.bias.len());
            return Self {
                queries: Linear::stored(in_proj, 0..width),
                keys_and_values: Linear::stored(in_proj, width..3 * width),
                out_proj: whole(out_proj),
                c_fc: whole(c_fc),
                c_proj: whole(c_proj),
            };
        };
        let (query_bias, kv_bias) = in_proj.bias.split_at(width);
        Self {
            queries: Linear::laid_out(&panels.queries, query_bias),
            keys_and_values: Linear::laid_out(&panels.keys_and_values, kv_bias),
            out_proj: Linear::laid_out(&panels.out_proj, &out_proj.bias),
            c_fc: Linear::laid_out(&panels.c_fc, &c_fc.bias),
            c_proj: Linear::laid_out(&panels.c_proj, &c_proj.bias),
        }
    }
}
