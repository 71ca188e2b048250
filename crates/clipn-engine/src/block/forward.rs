use clipn_model::{Activation, BlockParams};

use super::attention::AttentionScratch;
use super::weights::{BlockLayers, LayerInput, PackedBlock};
use crate::kernels::{QuantizedRows, first_n, layer_norm};

/// All residual attention blocks of a tower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transformer<'a> {
    pub blocks: &'a [BlockParams<f32>],
    /// Packed weights of the blocks, if they were packed in advance.
    pub packed_blocks: Option<&'a [PackedBlock]>,
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    /// Whether a position sees only itself and earlier positions.
    pub causal: bool,
}

/// One sequence of a chunk, or the part of it that follows a prefix shared with earlier sequences.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// Index of its first row.
    pub start: usize,
    /// Number of its own rows.
    pub length: usize,
    /// Rows of other sequences that form its prefix. Only causal towers share them, because there
    /// the hidden states of a prefix do not depend on what follows.
    pub prefix: Vec<usize>,
    /// Index of the row whose hidden state becomes the feature; in causal towers, the last row.
    pub pooled: usize,
}

impl Sequence {
    /// Iterates over all rows of the sequence, prefix included, in order of position.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.prefix
            .iter()
            .copied()
            .chain(self.start..self.start + self.length)
    }

    /// Number of positions, prefix included.
    pub(crate) fn position_count(&self) -> usize {
        self.prefix.len() + self.length
    }
}

/// Per-thread buffers, reused from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) normed: Vec<f32>,
    /// The widest rows, which are not needed at the same time: queries, keys and values in attention, the
    /// hidden layer in the MLP.
    pub(super) wide: Vec<f32>,
    pub(super) quantized: QuantizedRows,
    pub(super) attention: AttentionScratch,
}

impl Transformer<'_> {
    /// Runs the blocks over `x`, `[rows, width]`, and returns the pooled rows,
    /// `[sequences, width]`.
    ///
    /// The last block computes only what the pooled rows need.
    pub(crate) fn run(
        &self,
        x: &mut [f32],
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> Vec<f32> {
        let Some((last, layers)) = self.run_to_last(x, sequences, scratch, threads) else {
            return self.gather(x, sequences);
        };
        let mut pooled = self.attend_pooled(x, last, &layers, sequences, scratch, threads);
        self.mlp(&mut pooled, last, &layers, scratch, threads);
        pooled
    }

    /// Same as [`run`](Self::run), but also returns the other rows of each sequence,
    /// `[rows - sequences, width]`, which pass the last block with their own values instead of
    /// attention.
    pub(crate) fn run_with_values(
        &self,
        x: &mut [f32],
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let width = self.width;
        let is_pooled = |row: usize| sequences.iter().any(|sequence| sequence.pooled == row);
        let others: Vec<usize> = (0..x.len() / width)
            .filter(|&row| !is_pooled(row))
            .collect();
        let gather = |rows: &[f32], stride: usize, column: usize| -> Vec<f32> {
            let row = |&row: &usize| &rows[row * stride + column..][..width];
            others.iter().flat_map(row).copied().collect()
        };
        let Some((last, layers)) = self.run_to_last(x, sequences, scratch, threads) else {
            return (self.gather(x, sequences), gather(x, width, 0));
        };
        let mut pooled = self.attend_pooled(x, last, &layers, sequences, scratch, threads);
        // The scratch holds keys and values of every row.
        let values = gather(&scratch.wide, 2 * width, width);
        self.mlp(&mut pooled, last, &layers, scratch, threads);
        let mut local = gather(x, width, 0);
        layers
            .out_proj
            .apply(&mut local, LayerInput::Values(&values), true, threads);
        self.mlp(&mut local, last, &layers, scratch, threads);
        (pooled, local)
    }

    /// Runs all blocks but the last, which is returned with its layers; `None` without blocks.
    fn run_to_last(
        &self,
        x: &mut [f32],
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> Option<(&BlockParams<f32>, BlockLayers<'_>)> {
        let (last, others) = self.blocks.split_last()?;
        for (index, block) in others.iter().enumerate() {
            let layers = self.layers(index);
            self.attend(x, block, &layers, sequences, scratch, threads);
            self.mlp(x, block, &layers, scratch, threads);
        }
        Some((last, self.layers(others.len())))
    }

    /// Returns the linear layers of a block.
    pub(super) fn layers(&self, block: usize) -> BlockLayers<'_> {
        BlockLayers::new(
            &self.blocks[block],
            self.packed_blocks.map(|packed| &packed[block]),
        )
    }

    /// Copies the pooled rows of `x`, `[sequences, width]`.
    pub(super) fn gather(&self, x: &[f32], sequences: &[Sequence]) -> Vec<f32> {
        let row = |s: &Sequence| &x[s.pooled * self.width..][..self.width];
        sequences.iter().flat_map(row).copied().collect()
    }

    /// Computes x += attention(ln_1(x)).
    fn attend(
        &self,
        x: &mut [f32],
        block: &BlockParams<f32>,
        layers: &BlockLayers<'_>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) {
        let (normed, quantized) = (&mut scratch.normed, &mut scratch.quantized);
        let input = layers.normalize(x, &block.ln_1, normed, quantized);
        let qkv = first_n(&mut scratch.wide, 3 * x.len());
        self.projections(qkv, input, layers, threads);
        let out = first_n(&mut scratch.normed, x.len());
        self.attention(out, qkv, sequences, threads);
        layers
            .out_proj
            .apply(x, LayerInput::Values(out), true, threads);
    }

    /// Computes the pooled rows of x + attention(ln_1(x)), `[sequences, width]`, from the keys and
    /// values of every row and the queries of the pooled rows only.
    fn attend_pooled(
        &self,
        x: &[f32],
        block: &BlockParams<f32>,
        layers: &BlockLayers<'_>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> Vec<f32> {
        let normed = first_n(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let kv = first_n(&mut scratch.wide, 2 * x.len());
        let queries = self.pooled_projections(kv, normed, layers, sequences, threads);
        let mut attention_output = vec![0.0; queries.len()];
        self.pooled_attention(
            &mut attention_output,
            &queries,
            kv,
            sequences,
            &mut scratch.attention,
        );
        let mut out = self.gather(x, sequences);
        let input = LayerInput::Values(&attention_output);
        layers.out_proj.apply(&mut out, input, true, threads);
        out
    }

    /// Computes queries, keys and values of every row into `qkv`, `[rows, 3·width]`.
    pub(super) fn projections(
        &self,
        qkv: &mut [f32],
        input: LayerInput<'_>,
        layers: &BlockLayers<'_>,
        threads: usize,
    ) {
        let width = self.width;
        layers
            .queries
            .apply_to_columns(qkv, 0, 3 * width, input, threads);
        layers
            .keys_and_values
            .apply_to_columns(qkv, width, 3 * width, input, threads);
    }

    /// Computes keys and values of every row into `kv`, `[rows, 2·width]`, and returns the queries
    /// of the pooled rows, `[sequences, width]`.
    pub(super) fn pooled_projections(
        &self,
        kv: &mut [f32],
        normed: &[f32],
        layers: &BlockLayers<'_>,
        sequences: &[Sequence],
        threads: usize,
    ) -> Vec<f32> {
        let input = LayerInput::Values(normed);
        layers.keys_and_values.apply(kv, input, false, threads);
        let pooled = self.gather(normed, sequences);
        let mut queries = vec![0.0; pooled.len()];
        let input = LayerInput::Values(&pooled);
        layers.queries.apply(&mut queries, input, false, threads);
        queries
    }

    /// Computes x += c_proj(activation(c_fc(ln_2(x)))).
    fn mlp(
        &self,
        x: &mut [f32],
        block: &BlockParams<f32>,
        layers: &BlockLayers<'_>,
        scratch: &mut Scratch,
        threads: usize,
    ) {
        let (normed, quantized) = (&mut scratch.normed, &mut scratch.quantized);
        let input = layers.normalize(x, &block.ln_2, normed, quantized);
        let hidden = first_n(
            &mut scratch.wide,
            x.len() / self.width * block.c_fc.bias.len(),
        );
        layers
            .c_fc
            .apply_activated(hidden, input, self.activation, threads);
        layers
            .c_proj
            .apply(x, LayerInput::Values(hidden), true, threads);
    }
}
