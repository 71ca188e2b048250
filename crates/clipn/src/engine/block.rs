//! The residual attention blocks over a chunk of sequences that stand one after the other without padding.

use super::kernels::{
    Matrix, MatrixMut, add_bias, add_bias_and_activate, fill_rows, layer_norm, product, softmax_prefix,
};
use crate::model::{Activation, BlockParams};

/// All blocks of a tower.
#[derive(Debug, Clone)]
pub(super) struct Transformer {
    pub blocks: Vec<BlockParams<f32>>,
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
}

/// One sequence of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    /// Its first row.
    pub start: usize,
    /// Its positions.
    pub length: usize,
    /// The position, counted from `start`, whose hidden state becomes the feature.
    pub pooled: usize,
}

/// Buffers that a thread reuses from chunk to chunk.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    normed: Vec<f32>,
    qkv: Vec<f32>,
    hidden: Vec<f32>,
    weights: Vec<f32>,
}

impl Transformer {
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

    fn gather(&self, x: &[f32], sequences: &[Sequence]) -> Vec<f32> {
        let row = |s: &Sequence| &x[(s.start + s.pooled) * self.width..][..self.width];
        sequences.iter().flat_map(row).copied().collect()
    }

    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn attention_scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
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
        let width = self.width;
        let rows = x.len() / width;
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let qkv = sized(&mut scratch.qkv, 3 * x.len());
        fill_rows(qkv, &block.in_proj.bias);
        let weight = Matrix::packed(&block.in_proj.weight, width).transposed();
        product(MatrixMut::packed(qkv, 3 * width), Matrix::packed(normed, width), weight, 1.0, true, threads);

        let head_width = self.head_width();
        for sequence in sequences {
            let length = sequence.length;
            let weights = sized(&mut scratch.weights, length * length);
            for head in 0..self.heads {
                let part = |which: usize| {
                    let first = sequence.start * 3 * width + which * width + head * head_width;
                    Matrix::new(&qkv[first..], length, head_width, 3 * width)
                };
                let logits = MatrixMut::packed(weights, length);
                product(logits, part(0), part(1).transposed(), self.attention_scale(), false, 1);
                softmax_prefix(weights, length, |row| if self.causal { row + 1 } else { length });
                let first = sequence.start * width + head * head_width;
                let out = MatrixMut::new(&mut normed[first..], length, head_width, width);
                product(out, Matrix::packed(weights, length), part(2), 1.0, false, 1);
            }
        }
        debug_assert_eq!(rows * width, normed.len());
        self.add_linear(x, normed, &block.out_proj.weight, &block.out_proj.bias, threads);
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
        let width = self.width;
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let (query_weight, kv_weight) = block.in_proj.weight.split_at(width * width);
        let (query_bias, kv_bias) = block.in_proj.bias.split_at(width);
        let kv = sized(&mut scratch.qkv, 2 * x.len());
        fill_rows(kv, kv_bias);
        let weight = Matrix::packed(kv_weight, width).transposed();
        product(MatrixMut::packed(kv, 2 * width), Matrix::packed(normed, width), weight, 1.0, true, threads);
        let pooled = self.gather(normed, sequences);
        let mut queries = vec![0.0; pooled.len()];
        fill_rows(&mut queries, query_bias);
        self.add_product(&mut queries, &pooled, query_weight, threads);

        let head_width = self.head_width();
        let mut attended = vec![0.0; pooled.len()];
        for (index, sequence) in sequences.iter().enumerate() {
            let seen = if self.causal { sequence.pooled + 1 } else { sequence.length };
            let weights = sized(&mut scratch.weights, seen);
            for head in 0..self.heads {
                let at = index * width + head * head_width;
                let part = |which: usize| {
                    let first = sequence.start * 2 * width + which * width + head * head_width;
                    Matrix::new(&kv[first..], seen, head_width, 2 * width)
                };
                let query = Matrix::packed(&queries[at..at + head_width], head_width);
                let logits = MatrixMut::packed(weights, seen);
                product(logits, query, part(0).transposed(), self.attention_scale(), false, 1);
                softmax_prefix(weights, seen, |_| seen);
                let out = MatrixMut::packed(&mut attended[at..at + head_width], head_width);
                product(out, Matrix::packed(weights, seen), part(1), 1.0, false, 1);
            }
        }
        let mut out = self.gather(x, sequences);
        self.add_linear(&mut out, &attended, &block.out_proj.weight, &block.out_proj.bias, threads);
        out
    }

    /// x += c_proj(activation(c_fc(ln_2(x)))).
    fn mlp(&self, x: &mut [f32], block: &BlockParams<f32>, scratch: &mut Scratch, threads: usize) {
        let width = self.width;
        let hidden_width = block.c_fc.bias.len();
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_2);
        let hidden = sized(&mut scratch.hidden, x.len() / width * hidden_width);
        let weight = Matrix::packed(&block.c_fc.weight, width).transposed();
        product(
            MatrixMut::packed(hidden, hidden_width),
            Matrix::packed(normed, width),
            weight,
            1.0,
            false,
            threads,
        );
        add_bias_and_activate(hidden, &block.c_fc.bias, self.activation);
        self.add_linear(x, hidden, &block.c_proj.weight, &block.c_proj.bias, threads);
    }

    /// x += input·weightᵀ + bias, for `x` of `[rows, width]`.
    fn add_linear(&self, x: &mut [f32], input: &[f32], weight: &[f32], bias: &[f32], threads: usize) {
        add_bias(x, bias);
        self.add_product(x, input, weight, threads);
    }

    /// x += input·weightᵀ, for `x` of `[rows, width]`.
    fn add_product(&self, x: &mut [f32], input: &[f32], weight: &[f32], threads: usize) {
        let inner = weight.len() / self.width;
        let weight = Matrix::packed(weight, inner).transposed();
        product(MatrixMut::packed(x, self.width), Matrix::packed(input, inner), weight, 1.0, true, threads);
    }
}

/// The first `length` values of a buffer that grows as needed and is never cleared.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}
