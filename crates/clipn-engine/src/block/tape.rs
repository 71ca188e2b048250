use clipn_model::BlockParams;

use super::forward::{Scratch, Sequence, Transformer};
use super::weights::{BlockLayers, LayerInput};
use crate::kernels::{activate_into, first_n, layer_norm};

/// Intermediate values of a chunk of sequences that the backward pass needs: ten values per
/// position, block and unit of width.
///
/// Layer-norm outputs, attention probabilities and activations are recomputed instead, because they
/// are cheap.
#[derive(Debug)]
pub(crate) struct ChunkTape {
    pub sequences: Vec<Sequence>,
    /// All blocks except the last.
    pub(super) blocks: Vec<BlockTape>,
    /// Last block; `None` for a tower without blocks.
    pub(super) last: Option<LastBlockTape>,
    /// Pooled rows after the last block, `[sequences, width]`.
    pub pooled: Vec<f32>,
}

/// Intermediate values of one block, computed for all rows.
#[derive(Debug)]
pub(super) struct BlockTape {
    /// Input of the block, `[rows, width]`.
    pub x: Vec<f32>,
    /// `[rows, 3·width]`.
    pub qkv: Vec<f32>,
    /// Output of attention before its projection, `[rows, width]`.
    pub attention_output: Vec<f32>,
    /// x + attention, `[rows, width]`.
    pub after_attention: Vec<f32>,
    /// Hidden layer before bias and activation, `[rows, mlp_width]`.
    pub hidden: Vec<f32>,
}

/// Intermediate values of the last block, computed for the pooled rows only.
#[derive(Debug)]
pub(super) struct LastBlockTape {
    /// Input of the block, `[rows, width]`.
    pub x: Vec<f32>,
    /// Keys and values of all rows, `[rows, 2·width]`.
    pub kv: Vec<f32>,
    /// `[sequences, width]`.
    pub queries: Vec<f32>,
    /// `[sequences, width]`.
    pub attention_output: Vec<f32>,
    /// `[sequences, width]`.
    pub after_attention: Vec<f32>,
    /// `[sequences, mlp_width]`.
    pub hidden: Vec<f32>,
}

impl Transformer<'_> {
    /// Same as [`Transformer::run`], but records a tape.
    pub(crate) fn record(
        &self,
        mut x: Vec<f32>,
        sequences: Vec<Sequence>,
        scratch: &mut Scratch,
        threads: usize,
    ) -> ChunkTape {
        let mut tape = ChunkTape {
            sequences,
            blocks: Vec::new(),
            last: None,
            pooled: Vec::new(),
        };
        let Some((last, others)) = self.blocks.split_last() else {
            tape.pooled = self.gather(&x, &tape.sequences);
            return tape;
        };
        for (index, block) in others.iter().enumerate() {
            let layers = self.layers(index);
            let (kept, out) =
                self.record_block(x, block, &layers, &tape.sequences, scratch, threads);
            tape.blocks.push(kept);
            x = out;
        }
        let layers = self.layers(others.len());
        let (kept, pooled) = self.record_last(x, last, &layers, &tape.sequences, scratch, threads);
        tape.last = Some(kept);
        tape.pooled = pooled;
        tape
    }

    fn record_block(
        &self,
        x: Vec<f32>,
        block: &BlockParams<f32>,
        layers: &BlockLayers<'_>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> (BlockTape, Vec<f32>) {
        let normed = first_n(&mut scratch.normed, x.len());
        layer_norm(normed, &x, &block.ln_1);
        let mut qkv = vec![0.0; 3 * x.len()];
        self.projections(&mut qkv, LayerInput::Values(normed), layers, threads);
        let mut attention_output = vec![0.0; x.len()];
        self.attention(&mut attention_output, &qkv, sequences, threads);
        let mut after_attention = x.clone();
        let input = LayerInput::Values(&attention_output);
        layers
            .out_proj
            .apply(&mut after_attention, input, true, threads);
        let (hidden, out) = self.record_mlp(&after_attention, block, layers, scratch, threads);
        (
            BlockTape {
                x,
                qkv,
                attention_output,
                after_attention,
                hidden,
            },
            out,
        )
    }

    fn record_last(
        &self,
        x: Vec<f32>,
        block: &BlockParams<f32>,
        layers: &BlockLayers<'_>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> (LastBlockTape, Vec<f32>) {
        let normed = first_n(&mut scratch.normed, x.len());
        layer_norm(normed, &x, &block.ln_1);
        let mut kv = vec![0.0; 2 * x.len()];
        let queries = self.pooled_projections(&mut kv, normed, layers, sequences, threads);
        let mut attention_output = vec![0.0; queries.len()];
        self.pooled_attention(
            &mut attention_output,
            &queries,
            &kv,
            sequences,
            &mut scratch.attention,
        );
        let mut after_attention = self.gather(&x, sequences);
        let input = LayerInput::Values(&attention_output);
        layers
            .out_proj
            .apply(&mut after_attention, input, true, threads);
        let (hidden, out) = self.record_mlp(&after_attention, block, layers, scratch, threads);
        (
            LastBlockTape {
                x,
                kv,
                queries,
                attention_output,
                after_attention,
                hidden,
            },
            out,
        )
    }

    /// Returns the hidden layer before bias and activation, and the output of the block.
    fn record_mlp(
        &self,
        after_attention: &[f32],
        block: &BlockParams<f32>,
        layers: &BlockLayers<'_>,
        scratch: &mut Scratch,
        threads: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let hidden_width = block.c_fc.bias.len();
        let normed = first_n(&mut scratch.normed, after_attention.len());
        layer_norm(normed, after_attention, &block.ln_2);
        let mut hidden = vec![0.0; after_attention.len() / self.width * hidden_width];
        let input = LayerInput::Values(normed);
        layers
            .c_fc
            .without_bias()
            .apply(&mut hidden, input, false, threads);
        let activated = first_n(&mut scratch.wide, hidden.len());
        activate_into(activated, &hidden, &block.c_fc.bias, self.activation);
        let mut out = after_attention.to_vec();
        let input = LayerInput::Values(activated);
        layers.c_proj.apply(&mut out, input, true, threads);
        (hidden, out)
    }
}
