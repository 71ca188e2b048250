use clipn_model::BlockParams;

use super::attention::{AttentionScratch, PooledGradients, PooledInputs};
use super::forward::Transformer;
use super::tape::{BlockTape, ChunkTape};
use crate::kernels::{
    Epilogue, Matrix, MatrixMut, NormGradient, activate_backward, add, add_column_sums, gemm,
    layer_norm_backward,
};

/// State of one chunk in the backward pass: the gradients of the activations of one block, kept
/// until the products for the weight gradients have read them.
///
/// Only the last block uses the "pooled" arrays. In that block, everything after attention has one
/// row per sequence instead of one per position.
#[derive(Debug)]
pub(super) struct ChunkGradients {
    pub tape: ChunkTape,
    /// Tape of the block to which these gradients belong.
    pub block: Option<BlockTape>,
    /// Gradient of the block's output, `[rows, width]`.
    pub d_out: Vec<f32>,
    /// Gradient of x + attention, `[rows, width]`.
    pub d_after_attention: Vec<f32>,
    /// Gradient of the block's input, `[rows, width]`.
    pub d_x: Vec<f32>,
    /// Gradient of the hidden layer before its activation, `[rows, mlp_width]`.
    pub d_hidden: Vec<f32>,
    /// Gradient of queries, keys and values, `[rows, 3·width]`; in the last block, of keys and
    /// values only, `[rows, 2·width]`.
    pub d_qkv: Vec<f32>,
    /// Gradient of the pooled queries, `[sequences, width]`.
    pub d_queries: Vec<f32>,
    /// Output of ln_1, `[rows, width]`.
    pub normed_1: Vec<f32>,
    /// Pooled rows of `normed_1`, `[sequences, width]`.
    pub normed_pooled: Vec<f32>,
    /// Output of ln_2, `[rows, width]`.
    pub normed_2: Vec<f32>,
    /// Gradients of the biases and layer norms.
    pub vector_gradients: VectorGradients,
    d_attention_output: Vec<f32>,
    attention: AttentionScratch,
}

/// Contribution of one chunk to the gradients of the vector parameters of a block: biases and layer
/// norms.
#[derive(Debug, Default)]
pub(super) struct VectorGradients {
    ln_1_weight: Vec<f32>,
    ln_1_bias: Vec<f32>,
    in_proj: Vec<f32>,
    out_proj: Vec<f32>,
    ln_2_weight: Vec<f32>,
    ln_2_bias: Vec<f32>,
    c_fc: Vec<f32>,
    c_proj: Vec<f32>,
}

impl VectorGradients {
    fn reset(&mut self, block: &BlockParams<f32>) {
        let width = block.ln_1.weight.len();
        let Self {
            ln_1_weight,
            ln_1_bias,
            in_proj,
            out_proj,
            ln_2_weight,
            ln_2_bias,
            c_fc,
            c_proj,
        } = self;
        for vector in [
            ln_1_weight,
            ln_1_bias,
            out_proj,
            ln_2_weight,
            ln_2_bias,
            c_proj,
        ] {
            fit(vector, width).fill(0.0);
        }
        fit(in_proj, 3 * width).fill(0.0);
        fit(c_fc, block.c_fc.bias.len()).fill(0.0);
    }

    fn ln_1(&mut self) -> NormGradient<'_> {
        NormGradient {
            weight: &mut self.ln_1_weight,
            bias: &mut self.ln_1_bias,
        }
    }

    fn ln_2(&mut self) -> NormGradient<'_> {
        NormGradient {
            weight: &mut self.ln_2_weight,
            bias: &mut self.ln_2_bias,
        }
    }

    /// Adds this contribution to the gradient of the block.
    pub(crate) fn add_to(&self, gradient: &mut BlockParams<f32>) {
        add(gradient.ln_1.weight.make_mut(), &self.ln_1_weight);
        add(gradient.ln_1.bias.make_mut(), &self.ln_1_bias);
        add(gradient.in_proj.bias.make_mut(), &self.in_proj);
        add(gradient.out_proj.bias.make_mut(), &self.out_proj);
        add(gradient.ln_2.weight.make_mut(), &self.ln_2_weight);
        add(gradient.ln_2.bias.make_mut(), &self.ln_2_bias);
        add(gradient.c_fc.bias.make_mut(), &self.c_fc);
        add(gradient.c_proj.bias.make_mut(), &self.c_proj);
    }
}

impl ChunkGradients {
    pub(crate) fn new(tape: ChunkTape, d_pooled: Vec<f32>) -> Self {
        Self {
            tape,
            block: None,
            d_out: d_pooled,
            d_after_attention: Vec::new(),
            d_x: Vec::new(),
            d_hidden: Vec::new(),
            d_qkv: Vec::new(),
            d_queries: Vec::new(),
            normed_1: Vec::new(),
            normed_pooled: Vec::new(),
            normed_2: Vec::new(),
            vector_gradients: VectorGradients::default(),
            d_attention_output: Vec::new(),
            attention: AttentionScratch::default(),
        }
    }

    /// Moves to the preceding block: the gradient of this block's input becomes that of its output.
    pub(crate) fn move_to_previous_block(&mut self) {
        std::mem::swap(&mut self.d_out, &mut self.d_x);
        self.block = None;
    }

    /// Propagates the gradient back through a block that was computed for all rows.
    pub(crate) fn block_backward(
        &mut self,
        t: &Transformer<'_>,
        params: &BlockParams<f32>,
        threads: usize,
    ) {
        let Some(mut block) = self.tape.blocks.pop() else {
            return;
        };
        self.vector_gradients.reset(params);
        self.mlp_backward(
            t,
            params,
            &block.after_attention,
            &mut block.hidden,
            threads,
        );
        self.out_proj_backward(params, threads);
        let d_qkv = fit(&mut self.d_qkv, block.qkv.len());
        t.attention_backward(
            d_qkv,
            &self.d_attention_output,
            &block.qkv,
            &self.tape.sequences,
            &mut self.attention,
        );
        add_column_sums(&mut self.vector_gradients.in_proj, d_qkv);
        let d_normed = fit(&mut self.normed_1, block.x.len());
        input_gradient(
            d_normed,
            d_qkv,
            &params.in_proj.weight,
            3 * t.width,
            threads,
        );
        fit(&mut self.d_x, block.x.len()).copy_from_slice(&self.d_after_attention);
        let gradient = self.vector_gradients.ln_1();
        layer_norm_backward(&mut self.d_x, d_normed, &block.x, &params.ln_1, gradient);
        self.block = Some(block);
    }

    /// Propagates the gradient back through the last block, which was computed for the
    /// pooled rows only.
    pub(crate) fn last_block_backward(
        &mut self,
        t: &Transformer<'_>,
        params: &BlockParams<f32>,
        threads: usize,
    ) {
        let Some(mut last) = self.tape.last.take() else {
            return;
        };
        let width = t.width;
        let sequences = self.tape.sequences.clone();
        self.vector_gradients.reset(params);
        self.mlp_backward(t, params, &last.after_attention, &mut last.hidden, threads);
        self.out_proj_backward(params, threads);
        let d_queries = fit(&mut self.d_queries, last.queries.len());
        let d_kv = fit(&mut self.d_qkv, last.kv.len());
        let inputs = PooledInputs {
            queries: &last.queries,
            kv: &last.kv,
        };
        t.pooled_attention_backward(
            PooledGradients {
                queries: d_queries,
                kv: d_kv,
            },
            &self.d_attention_output,
            inputs,
            &sequences,
            &mut self.attention,
        );
        let (query_sums, kv_sums) = self.vector_gradients.in_proj.split_at_mut(width);
        add_column_sums(query_sums, d_queries);
        add_column_sums(kv_sums, d_kv);
        let (query_weight, kv_weight) = params.in_proj.weight.split_at(width * width);
        let d_normed = fit(&mut self.normed_1, last.x.len());
        input_gradient(d_normed, d_kv, kv_weight, 2 * width, threads);
        let d_pooled = fit(&mut self.d_attention_output, last.queries.len());
        input_gradient(d_pooled, d_queries, query_weight, width, threads);
        let d_x = fit(&mut self.d_x, last.x.len());
        d_x.fill(0.0);
        for (index, sequence) in sequences.iter().enumerate() {
            let (from, to) = (index * width, sequence.pooled * width);
            d_x[to..to + width].copy_from_slice(&self.d_after_attention[from..from + width]);
            add(&mut d_normed[to..to + width], &d_pooled[from..from + width]);
        }
        let gradient = self.vector_gradients.ln_1();
        layer_norm_backward(d_x, d_normed, &last.x, &params.ln_1, gradient);
        self.normed_pooled = t.gather(d_normed, &sequences);
        self.tape.last = Some(last);
    }

    /// Computes `d_after_attention` from `d_out`, and overwrites `hidden` with the activations.
    fn mlp_backward(
        &mut self,
        t: &Transformer<'_>,
        params: &BlockParams<f32>,
        after_attention: &[f32],
        hidden: &mut [f32],
        threads: usize,
    ) {
        add_column_sums(&mut self.vector_gradients.c_proj, &self.d_out);
        let d_hidden = fit(&mut self.d_hidden, hidden.len());
        input_gradient(
            d_hidden,
            &self.d_out,
            &params.c_proj.weight,
            t.width,
            threads,
        );
        activate_backward(hidden, d_hidden, &params.c_fc.bias, t.activation);
        add_column_sums(&mut self.vector_gradients.c_fc, d_hidden);
        let d_normed = fit(&mut self.normed_2, after_attention.len());
        input_gradient(
            d_normed,
            d_hidden,
            &params.c_fc.weight,
            params.c_fc.bias.len(),
            threads,
        );
        let d_after_attention = fit(&mut self.d_after_attention, after_attention.len());
        d_after_attention.copy_from_slice(&self.d_out);
        let gradient = self.vector_gradients.ln_2();
        layer_norm_backward(
            d_after_attention,
            d_normed,
            after_attention,
            &params.ln_2,
            gradient,
        );
    }

    /// Computes `d_attention_output` from `d_after_attention`.
    fn out_proj_backward(&mut self, params: &BlockParams<f32>, threads: usize) {
        add_column_sums(&mut self.vector_gradients.out_proj, &self.d_after_attention);
        let d_attention_output = fit(&mut self.d_attention_output, self.d_after_attention.len());
        input_gradient(
            d_attention_output,
            &self.d_after_attention,
            &params.out_proj.weight,
            params.out_proj.bias.len(),
            threads,
        );
    }
}

/// Computes d_input = d_out·weight, for `d_out`, `[rows, columns]`, and a weight,
/// `[columns, inner]`.
fn input_gradient(
    d_input: &mut [f32],
    d_out: &[f32],
    weight: &[f32],
    columns: usize,
    threads: usize,
) {
    let inner = weight.len() / columns;
    let (d_out, weight) = (
        Matrix::row_major(d_out, columns),
        Matrix::row_major(weight, inner),
    );
    gemm(
        MatrixMut::row_major(d_input, inner),
        d_out,
        weight,
        Epilogue::default(),
        threads,
    );
}

/// Resizes a buffer to exactly this length, so that a matrix view of it has the right number of
/// rows.
fn fit(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    buffer.resize(length, 0.0);
    buffer
}
