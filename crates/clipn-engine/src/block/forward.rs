use crate::kernels::{add_bias_and_activate, layer_norm, sized};
use super::attention::AttentionScratch;
use super::weights::{BlockPanels, Layers};
use clipn_model::{Activation, BlockParams};

/// All blocks of a tower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transformer<'a> {
    pub blocks: &'a [BlockParams<f32>],
    /// The blocks' weights laid out, where they are.
    pub panels: Option<&'a [BlockPanels]>,
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
}

/// One sequence of a chunk, or what it has beyond those before it.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// Its first row.
    pub start: usize,
    /// Its rows.
    pub length: usize,
    /// Rows of other sequences with which it begins; only in causal towers, where they are the same in both.
    pub before: Vec<usize>,
    /// The row whose hidden state becomes the feature: in causal towers the last.
    pub pooled: usize,
}

impl Sequence {
    /// Every row that the last one sees.
    pub fn path(&self) -> impl Iterator<Item = usize> + '_ {
        self.before
            .iter()
            .copied()
            .chain(self.start..self.start + self.length)
    }

    /// Positions in all.
    pub fn positions(&self) -> usize {
        self.before.len() + self.length
    }
}

/// Buffers that a thread reuses from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) normed: Vec<f32>,
    pub(super) qkv: Vec<f32>,
    pub(super) hidden: Vec<f32>,
    pub(super) attention: AttentionScratch,
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
        for (index, block) in others.iter().enumerate() {
            let layers = self.layers(index);
            self.attend(x, block, &layers, sequences, scratch, threads);
            self.mlp(x, block, &layers, scratch, threads);
        }
        let layers = self.layers(others.len());
        let mut pooled = self.attend_pooled(x, last, &layers, sequences, scratch, threads);
        self.mlp(&mut pooled, last, &layers, scratch, threads);
        pooled
    }

    /// The layers of one of the blocks.
    pub(super) fn layers(&self, block: usize) -> Layers<'_> {
        Layers::of(
            &self.blocks[block],
            self.panels.map(|panels| &panels[block]),
        )
    }

    /// The pooled rows of `x`, `[sequences, width]`.
    pub(super) fn gather(&self, x: &[f32], sequences: &[Sequence]) -> Vec<f32> {
        let row = |s: &Sequence| &x[s.pooled * self.width..][..self.width];
        sequences.iter().flat_map(row).copied().collect()
    }

    /// x += attention(ln_1(x)).
    fn attend(
        &self,
        x: &mut [f32],
        block: &BlockParams<f32>,
        layers: &Layers<'_>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) {
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let qkv = sized(&mut scratch.qkv, 3 * x.len());
        self.projections(qkv, normed, layers, threads);
        self.attention(normed, qkv, sequences, &mut scratch.attention);
        layers.out_proj.apply(x, normed, true, threads);
    }

    /// The pooled rows of x + attention(ln_1(x)), `[sequences, width]`: keys and values of every row, queries of the
    /// pooled rows alone.
    fn attend_pooled(
        &self,
        x: &[f32],
        block: &BlockParams<f32>,
        layers: &Layers<'_>,
        sequences: &[Sequence],
        scratch: &mut Scratch,
        threads: usize,
    ) -> Vec<f32> {
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_1);
        let kv = sized(&mut scratch.qkv, 2 * x.len());
        let queries = self.pooled_projections(kv, normed, layers, sequences, threads);
        let mut attended = vec![0.0; queries.len()];
        self.pooled_attention(
            &mut attended,
            &queries,
            kv,
            sequences,
            &mut scratch.attention,
        );
        let mut out = self.gather(x, sequences);
        layers.out_proj.apply(&mut out, &attended, true, threads);
        out
    }

    /// Queries, keys and values of every row into `qkv`, `[rows, 3·width]`.
    pub(super) fn projections(
        &self,
        qkv: &mut [f32],
        normed: &[f32],
        layers: &Layers<'_>,
        threads: usize,
    ) {
        let width = self.width;
        layers
            .queries
            .apply_beside(qkv, (0, 3 * width), normed, threads);
        layers
            .keys_and_values
            .apply_beside(qkv, (width, 3 * width), normed, threads);
    }

    /// Keys and values of every row into `kv`, `[rows, 2·width]`, and the queries of the pooled rows,
    /// `[sequences, width]`.
    pub(super) fn pooled_projections(
        &self,
        kv: &mut [f32],
        normed: &[f32],
        layers: &Layers<'_>,
        sequences: &[Sequence],
        threads: usize,
    ) -> Vec<f32> {
        layers.keys_and_values.apply(kv, normed, false, threads);
        let pooled = self.gather(normed, sequences);
        let mut queries = vec![0.0; pooled.len()];
        layers.queries.apply(&mut queries, &pooled, false, threads);
        queries
    }

    /// x += c_proj(activation(c_fc(ln_2(x)))).
    fn mlp(
        &self,
        x: &mut [f32],
        block: &BlockParams<f32>,
        layers: &Layers<'_>,
        scratch: &mut Scratch,
        threads: usize,
    ) {
        let normed = sized(&mut scratch.normed, x.len());
        layer_norm(normed, x, &block.ln_2);
        let hidden = sized(
            &mut scratch.hidden,
            x.len() / self.width * block.c_fc.bias.len(),
        );
        // The activation adds the bias.
        layers
            .c_fc
            .without_bias()
            .apply(hidden, normed, false, threads);
        add_bias_and_activate(hidden, &block.c_fc.bias, self.activation);
        layers.c_proj.apply(x, hidden, true, threads);
    }
}
