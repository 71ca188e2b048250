use std::ops::Range;

use clipn_model::{
    Activation, FeatureMatrix, ModelConfig, ModelError, ModelWeights, Precision, PromptSelection,
    QuantizedWeight, TextConfig, TextParams, TextSide, TextTower, check_tokens,
};
use clipn_text::tokenizer::{TokenBatch, end_of_text_position};

use super::prefixes::{self, PrefixSharedRows};
use super::prompts::prompted_positions;
use crate::block::{
    PackedBlock, Scratch, Transformer, UnpackedWeights, pack_blocks, quantize_blocks,
};
use crate::chunks::{SCRATCH, par_map_chunks};
use crate::head::Head;

/// Intended number of positions per chunk of texts.
pub(super) const TARGET_CHUNK_POSITIONS: usize = 800;

/// CLIPN's text tower, "yes" or "no", in f32, for training and inference.
///
/// Attention is causal, so the tower skips all positions after the pooled position of a text and
/// concatenates texts of different lengths without padding. Neither changes the result. For
/// inference only, [`TextEncoder`] is faster.
#[derive(Debug, Clone)]
pub struct TextTransformer {
    pub(super) config: TextConfig,
    activation: Activation,
    pub(super) embed_dim: usize,
    pub(super) params: TextParams<f32>,
    /// Packed weights of the blocks, see [`TextTransformer::with_packed_weights`].
    pub(super) packed_blocks: Option<Vec<PackedBlock>>,
}

impl TextTransformer {
    /// Creates a tower from a config and its parameters.
    pub fn new(config: &ModelConfig, params: TextParams<f32>) -> Self {
        Self {
            config: config.text.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
            packed_blocks: None,
        }
    }

    /// Creates the tower of one side from loaded weights.
    pub fn from_weights(weights: &ModelWeights, side: TextSide) -> Self {
        Self::new(weights.config(), weights.text_params(side))
    }

    /// Packs the weights for matrix products once instead of in each product, which is faster as
    /// long as they do not change.
    ///
    /// The unpacked weights stay in memory. Mutable access to the parameters drops the packed ones.
    #[must_use]
    pub fn with_packed_weights(mut self) -> Self {
        self.packed_blocks = Some(pack_blocks(&mut self.params.blocks, UnpackedWeights::Keep));
        self
    }

    pub(super) fn transformer(&self) -> Transformer<'_> {
        Transformer {
            blocks: &self.params.blocks,
            packed_blocks: self.packed_blocks.as_deref(),
            width: self.config.width,
            heads: self.config.heads,
            activation: self.activation,
            causal: true,
        }
    }

    pub(super) fn head(&self) -> Head<'_> {
        Head {
            norm: &self.params.ln_final,
            projection: &self.params.projection,
            dim: self.embed_dim,
        }
    }

    /// Returns the token embeddings of ids, each plus its own vector `[width]`, as `[rows, width]`.
    pub(super) fn embed<'a>(&self, rows: impl Iterator<Item = (u32, &'a [f32])>) -> Vec<f32> {
        let width = self.config.width;
        let mut x = Vec::with_capacity(rows.size_hint().0 * width);
        for (id, added) in rows {
            let token = &self.params.token_embedding[id as usize * width..][..width];
            x.extend(token.iter().zip(added).map(|(t, a)| t + a));
        }
        x
    }
}

impl TextTower<f32> for TextTransformer {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn context_length(&self) -> usize {
        self.config.context_length
    }

    fn encode_with(
        &self,
        tokens: &TokenBatch,
        prompt: PromptSelection,
    ) -> Result<FeatureMatrix<f32>, ModelError> {
        check_tokens(tokens, &self.config)?;
        let positions = prompted_positions(&self.params, &self.config, prompt)?;
        let (texts, _) = truncate_at_end_of_text(tokens);
        let order = prefixes::sorted_order(&texts);
        let texts: Vec<&[u32]> = order.iter().map(|&text| texts[text]).collect();
        let mut ordered = vec![0.0; texts.len() * self.embed_dim];
        let encode =
            |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
                let PrefixSharedRows { rows, sequences } = PrefixSharedRows::new(&texts[range]);
                let width = self.config.width;
                let mut x = self.embed(
                    rows.iter()
                        .map(|&(id, at)| (id, &positions[at * width..][..width])),
                );
                let pooled = self.transformer().run(&mut x, &sequences, scratch, threads);
                self.head().project(out, &pooled, threads);
            };
        let lengths = prefixes::suffix_lengths(&texts);
        par_map_chunks(
            &lengths,
            TARGET_CHUNK_POSITIONS,
            self.embed_dim,
            &mut ordered,
            &SCRATCH,
            encode,
        );
        let mut values = vec![0.0; ordered.len()];
        for (feature, text) in ordered.chunks_exact(self.embed_dim).zip(order) {
            values[text * self.embed_dim..][..self.embed_dim].copy_from_slice(feature);
        }
        Ok(FeatureMatrix::new(values, self.embed_dim))
    }
}

/// CLIPN's text tower for inference only: a [`TextTransformer`] that holds its weights in packed
/// form only, in a [`Precision`].
///
/// The features of a text have the same bits whatever other texts are in the batch.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    tower: TextTransformer,
}

impl TextEncoder {
    /// Creates an encoder in f32 from a config and its parameters.
    pub fn new(config: &ModelConfig, params: TextParams<f32>) -> Self {
        Self::with_precision(config, params, Precision::F32)
    }

    /// Creates an encoder from a config and its parameters; see
    /// [`VisionEncoder::with_precision`](crate::VisionEncoder::with_precision).
    pub fn with_precision(
        config: &ModelConfig,
        params: TextParams<f32>,
        precision: Precision,
    ) -> Self {
        Self::build(config, params, precision, false)
    }

    /// Creates the encoder of one side from loaded weights; see
    /// [`VisionEncoder::from_weights`](crate::VisionEncoder::from_weights).
    pub fn from_weights(weights: &ModelWeights, side: TextSide) -> Self {
        let (config, params) = (weights.config(), weights.text_params(side));
        Self::build(config, params, weights.precision(), weights.is_quantized())
    }

    fn build(
        config: &ModelConfig,
        params: TextParams<f32>,
        precision: Precision,
        are_balanced: bool,
    ) -> Self {
        let mut tower = TextTransformer::new(config, params);
        let TextParams {
            blocks,
            token_embedding,
            ..
        } = &mut tower.params;
        tower.packed_blocks = Some(match precision {
            Precision::Int8 => {
                // As it is stored in quantized weights.
                let quantized = QuantizedWeight::quantize(token_embedding, config.text.width);
                *token_embedding = quantized.represented().into();
                quantize_blocks(blocks, are_balanced)
            }
            _ => pack_blocks(blocks, UnpackedWeights::Drop),
        });
        Self { tower }
    }
}

impl TextTower<f32> for TextEncoder {
    fn embed_dim(&self) -> usize {
        self.tower.embed_dim()
    }

    fn context_length(&self) -> usize {
        self.tower.context_length()
    }

    fn encode_with(
        &self,
        tokens: &TokenBatch,
        prompt: PromptSelection,
    ) -> Result<FeatureMatrix<f32>, ModelError> {
        self.tower.encode_with(tokens, prompt)
    }
}

/// Truncates texts after their pooled position; returns their ids and lengths.
pub(super) fn truncate_at_end_of_text(tokens: &TokenBatch) -> (Vec<&[u32]>, Vec<usize>) {
    tokens
        .rows()
        .map(|ids| &ids[..=end_of_text_position(ids)])
        .map(|ids| (ids, ids.len()))
        .unzip()
}
