use super::super::kernels::{
    Matrix, MatrixMut, add_bias, add_bias_and_activate, fill_rows, layer_norm, product, sized,
};
use crate::model::{Activation, BlockParams};

/// All blocks of a tower.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Transformer<'a> {
    pub blocks: &'a [BlockParams<f32>],
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
}

/// One sequence of a chunk.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Sequence {
    /// Its first row.
    pub start: usize,
    /// Its positions.
    pub length: usize,
    /// The position, counted from `start`, whose hidden state becomes the feature.
    pub pooled: usize,
}

impl Sequence {
    /// The row whose hidden state becomes the feature.
    pub fn pooled_row(&self) -> usize {
        self.start + self.pooled
    }
}

/// Buffers that a thread reuses from chunk to chunk.
#[derive(Debug, Default)]
pub(in super::super) struct Scratch {
    pub(super) normed: Vec<f32>,
    pub(super) qkv: Vec<f32>,
    pub(super) hidden: Vec<f32>,
    pub(super) weights: Vec<f32>,
}

impl Transformer<'_> {
    /// Runs the blocks over `x`, `[rows, width]`, and gives the pooled rows, `[sequences, width]`. The last block is
    /// computed only where the pooled rows need it.
    pub fn run(
        &self,
        x: &mut [f32],
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> Vec<f32> {
        let Some((last, others)) = self.blocks.split_last() else {
            return self.gather(x, sequences);
        };
        for block in others {
            self.attend(x, block, sequences, scratch, threads);
            self.mlp(x, block, scratch, threads);
        }
        let mut pooled = self.attend_pooled(x, last, sequences, scratch, threads);
        self.mlp(&mut pooled, last, scratch, threads);
        pooled
    }

    /// The pooled rows of `x`, `[sequences, width]`.
    pub(super) fn gather(&self, x: &[f32], sequences: &[Sequence]) -> Vec<f32> {
        let row = |s: &Sequence| &x[s.pooled_row() * self.width..][..self.width];
        sequences.iter().flat_map(row).copied().collect()
    }

    /// x += attention(ln_1(x)).
    fn attend(
        &self,
        x: &mut [f32],
        block: &BlockParams<f32>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) {
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let qkv = sized(&mut scratch.qkv, 3 * x.len());
        linear(qkv, normed, &block.in_proj.weight, &block.in_proj.bias, threads);
        self.attention(normed, qkv, sequences, &mut scratch.weights);
        add_linear(x, normed, &block.out_proj.weight, &block.out_proj.bias, threads);
    }

    /// The pooled rows of x + attention(ln_1(x)), `[sequences, width]`: keys and values of every row, queries of the
    /// pooled rows alone.
    fn attend_pooled(
        &self,
        x: &[f32],
        block: &BlockParams<f32>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> Vec<f32> {
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let kv = sized(&mut scratch.qkv, 2 * x.len());
        let queries = self.pooled_projections(kv, normed, block, sequences, threads);
        let mut attended = vec![0.0; queries.len()];
        self.pooled_attention(&mut attended, &queries, kv, sequences, &mut scratch.weights);
        let mut out = self.gather(x, sequences);
        add_linear(&mut out, &attended, &block.out_proj.weight, &block.out_proj.bias, threads);
        out
    }

    /// Keys and values of every row into `kv`, `[rows, 2·width]`, and the queries of the pooled rows,
    /// `[sequences, width]`.
    pub(super) fn pooled_projections(
        &self,
        kv: &mut [f32],
        normed: &[f32],
        block: &BlockParams<f32>,
        sequences: &[Sequence],
        threads: usize,
    ) -> Vec<f32> {
        let width = self.width;
        let (query_weight, kv_weight) = block.in_proj.weight.split_at(width * width);
        let (query_bias, kv_bias) = block.in_proj.bias.split_at(width);
        linear(kv, normed, kv_weight, kv_bias, threads);
        let pooled = self.gather(normed, sequences);
        let mut queries = vec![0.0; pooled.len()];
        linear(&mut queries, &pooled, query_weight, query_bias, threads);
        queries
    }

    /// x += c_proj(activation(c_fc(ln_2(x)))).
    fn mlp(&self, x: &mut [f32], block: &BlockParams<f32>, scratch: &mut Scratch, threads: usize) {
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_2);
        let hidden = sized(&mut scratch.hidden, x.len() / self.width * block.c_fc.bias.len());
        add_product(hidden, normed, &block.c_fc.weight, block.c_fc.bias.len(), false, threads);
        add_bias_and_activate(hidden, &block.c_fc.bias, self.activation);
        add_linear(x, hidden, &block.c_proj.weight, &block.c_proj.bias, threads);
    }
}

/// out = input·weightᵀ + bias.
pub(super) fn linear(out: &mut [f32], input: &[f32], weight: &[f32], bias: &[f32], threads: usize) {
    fill_rows(out, bias);
    add_product(out, input, weight, bias.len(), true, threads);
}

/// x += input·weightᵀ + bias.
pub(super) fn add_linear(x: &mut [f32], input: &[f32], weight: &[f32], bias: &[f32], threads: usize) {
    add_bias(x, bias);
    add_product(x, input, weight, bias.len(), true, threads);
}

/// out = input·weightᵀ, added to what `out`, `[rows, columns]`, held where `accumulate`.
pub(super) fn add_product(
    out: &mut [f32],
    input: &[f32],
    weight: &[f32],
    columns: usize,
    accumulate: bool,
    threads: usize,
) {
    let inner = weight.len() / columns;
    let weight = Matrix::packed(weight, inner).transposed();
    product(MatrixMut::packed(out, columns), Matrix::packed(input, inner), weight, 1.0, accumulate, threads);
}
