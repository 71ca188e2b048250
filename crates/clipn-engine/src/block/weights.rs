use std::cell::RefCell;
use std::ops::Range;

use clipn_checkpoint::Buffer;
use clipn_model::{Activation, BlockParams, LinearParams, NormParams, Precision};

use crate::kernels::{
    Epilogue, Matrix, MatrixMut, PackedB, QuantizedB, QuantizedRows, Rhs, first_n, gemm, gemm_int8,
    layer_norm,
};

thread_local! {
    /// Inputs of a layer that are quantized for it alone.
    static QUANTIZED: RefCell<QuantizedRows> = RefCell::default();
}

/// Weights of a linear layer, packed for matrix products in advance.
#[derive(Debug, Clone)]
pub(crate) enum PackedLinear {
    F32(PackedB),
    Int8(QuantizedB),
}

impl PackedLinear {
    /// Packs a weight, `[outputs, inner]`.
    pub(crate) fn pack(weight: &[f32], inner: usize, precision: Precision) -> Self {
        match precision {
            Precision::Int8 => Self::Int8(QuantizedB::quantize(weight, inner)),
            _ => Self::F32(PackedB::pack(Matrix::row_major(weight, inner).transposed())),
        }
    }

    fn inner(&self) -> usize {
        match self {
            Self::F32(packed) => packed.rows(),
            Self::Int8(packed) => packed.depth(),
        }
    }

    /// Computes out = input·weightᵀ, from `[rows, inner]` to `[rows, outputs]`.
    pub(crate) fn multiply(&self, out: &mut [f32], input: &[f32], threads: usize) {
        Linear::packed(self, &[]).apply(out, LayerInput::Values(input), false, threads);
    }
}

/// Weight of a linear layer, `[inner, outputs]`.
#[derive(Debug, Clone, Copy)]
enum Weight<'a> {
    F32(Rhs<'a>),
    Int8(&'a QuantizedB),
}

/// Input of linear layers, `[rows, inner]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum LayerInput<'a> {
    Values(&'a [f32]),
    /// For layers with quantized weights only.
    Quantized(&'a QuantizedRows),
}

/// A linear layer, x·weightᵀ + bias, or a range of its outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear<'a> {
    weight: Weight<'a>,
    /// `[outputs]`, or empty for no bias.
    bias: &'a [f32],
    inner: usize,
}

impl<'a> Linear<'a> {
    /// Creates a layer from a range of outputs of unpacked weights.
    fn unpacked(params: &'a LinearParams<f32>, outputs: Range<usize>) -> Self {
        let inner = inner_width(params);
        let weight = &params.weight[outputs.start * inner..outputs.end * inner];
        Self {
            weight: Weight::F32(Matrix::row_major(weight, inner).transposed().into()),
            bias: &params.bias[outputs],
            inner,
        }
    }

    fn packed(packed: &'a PackedLinear, bias: &'a [f32]) -> Self {
        let inner = packed.inner();
        let weight = match packed {
            PackedLinear::F32(packed) => Weight::F32(packed.into()),
            PackedLinear::Int8(packed) => Weight::Int8(packed),
        };
        Self {
            weight,
            bias,
            inner,
        }
    }

    /// Returns the layer without its bias.
    pub(crate) fn without_bias(self) -> Self {
        Self { bias: &[], ..self }
    }

    fn columns(&self) -> usize {
        match self.weight {
            Weight::F32(weight) => weight.columns(),
            Weight::Int8(weight) => weight.columns(),
        }
    }

    /// Computes out = layer(input), plus the previous value of `out` if `accumulate`, into
    /// `[rows, outputs]`.
    pub(crate) fn apply(
        &self,
        out: &mut [f32],
        input: LayerInput<'_>,
        accumulate: bool,
        threads: usize,
    ) {
        let epilogue = Epilogue {
            bias: self.bias,
            accumulate,
            ..Epilogue::default()
        };
        let out = MatrixMut::row_major(out, self.columns());
        self.multiply(out, input, epilogue, threads);
    }

    /// Computes out = activation(layer(input)) into `[rows, outputs]`.
    pub(crate) fn apply_activated(
        &self,
        out: &mut [f32],
        input: LayerInput<'_>,
        activation: Activation,
        threads: usize,
    ) {
        let epilogue = Epilogue {
            bias: self.bias,
            activation: Some(activation),
            ..Epilogue::default()
        };
        let out = MatrixMut::row_major(out, self.columns());
        self.multiply(out, input, epilogue, threads);
    }

    /// Same as [`Linear::apply`], but writes the columns from `first_column` on of an `out` with
    /// rows of `row_stride` values.
    pub(crate) fn apply_to_columns(
        &self,
        out: &mut [f32],
        first_column: usize,
        row_stride: usize,
        input: LayerInput<'_>,
        threads: usize,
    ) {
        let rows = out.len() / row_stride.max(1);
        let first = first_column.min(out.len());
        let out = MatrixMut::new(&mut out[first..], rows, self.columns(), row_stride);
        let epilogue = Epilogue {
            bias: self.bias,
            ..Epilogue::default()
        };
        self.multiply(out, input, epilogue, threads);
    }

    /// # Panics
    ///
    /// Panics if the input is quantized and the weight is not, a bug in the caller.
    fn multiply(
        &self,
        out: MatrixMut<'_>,
        input: LayerInput<'_>,
        epilogue: Epilogue<'_>,
        threads: usize,
    ) {
        match (self.weight, input) {
            (Weight::F32(weight), LayerInput::Values(input)) => {
                let input = Matrix::row_major(input, self.inner);
                gemm(out, input, weight, epilogue, threads);
            }
            (Weight::Int8(weight), LayerInput::Quantized(input)) => {
                gemm_int8(out, input, weight, epilogue, threads);
            }
            (Weight::Int8(weight), LayerInput::Values(input)) => {
                // Take the buffer instead of borrowing it: rayon may run another chunk on a thread
                // that waits inside the product.
                let mut quantized = QUANTIZED.take();
                quantized.quantize(input, self.inner);
                gemm_int8(out, &quantized, weight, epilogue, threads);
                QUANTIZED.set(quantized);
            }
            (Weight::F32(_), LayerInput::Quantized(_)) => {
                unreachable!("a quantized input of a layer in f32")
            }
        }
    }
}

/// Number of inputs of a layer.
fn inner_width(params: &LinearParams<f32>) -> usize {
    params.weight.len() / params.bias.len().max(1)
}

/// Weights of the linear layers of a block, packed for matrix products in advance.
#[derive(Debug, Clone)]
pub(crate) struct PackedBlock {
    queries: PackedLinear,
    keys_and_values: PackedLinear,
    out_proj: PackedLinear,
    c_fc: PackedLinear,
    c_proj: PackedLinear,
}

/// Whether to keep the unpacked weights after packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnpackedWeights {
    /// Keep them, for example to write a checkpoint.
    Keep,
    /// Remove them from the parameters.
    Drop,
}

/// Packs the weights of all blocks, block by block, in f32.
///
/// Pages of weights in a memory-mapped file are released as it proceeds, so that the weights are
/// not in memory twice.
pub(crate) fn pack_blocks(
    blocks: &mut [BlockParams<f32>],
    unpacked: UnpackedWeights,
) -> Vec<PackedBlock> {
    let mut all = Vec::with_capacity(blocks.len());
    for block in blocks {
        all.push(PackedBlock::pack(block, Precision::F32));
        if unpacked == UnpackedWeights::Drop {
            drop_weights(block);
        }
    }
    all
}

/// Same as [`pack_blocks`], but quantizes the weights and always drops them. The weights and layer
/// norms are balanced first ([`BlockParams::balanced`]) unless they were when they were stored.
pub(crate) fn quantize_blocks(
    blocks: &mut [BlockParams<f32>],
    are_balanced: bool,
) -> Vec<PackedBlock> {
    let mut all = Vec::with_capacity(blocks.len());
    for block in blocks {
        let mut own = match are_balanced {
            true => block.clone(),
            false => block.balanced(),
        };
        all.push(PackedBlock::pack(&own, Precision::Int8));
        drop_weights(&mut own);
        for layer in [&block.in_proj, &block.out_proj, &block.c_fc, &block.c_proj] {
            layer.weight.release();
        }
        *block = own;
    }
    all
}

fn drop_weights(block: &mut BlockParams<f32>) {
    for layer in [
        &mut block.in_proj,
        &mut block.out_proj,
        &mut block.c_fc,
        &mut block.c_proj,
    ] {
        layer.weight = Buffer::default();
    }
}

impl PackedBlock {
    fn pack(params: &BlockParams<f32>, precision: Precision) -> Self {
        let width = params.ln_1.weight.len();
        let pack = |layer: &LinearParams<f32>, outputs: Range<usize>| {
            let inner = inner_width(layer);
            let weight = &layer.weight[outputs.start * inner..outputs.end * inner];
            let packed = PackedLinear::pack(weight, inner, precision);
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

    /// Computes the layer norm of `x`, `[rows, width]`, as input of the layers, quantized if their
    /// weights are.
    pub(crate) fn normalize<'b>(
        &self,
        x: &[f32],
        norm: &NormParams<f32>,
        normed: &'b mut Vec<f32>,
        quantized: &'b mut QuantizedRows,
    ) -> LayerInput<'b> {
        match self.c_fc.weight {
            Weight::F32(_) => {
                let normed = first_n(normed, x.len());
                layer_norm(normed, x, norm);
                LayerInput::Values(normed)
            }
            Weight::Int8(_) => {
                quantized.quantize_normed(x, norm);
                LayerInput::Quantized(quantized)
            }
        }
    }
}
