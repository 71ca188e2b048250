use std::borrow::Cow;
use std::ops::Range;

use super::block::{Scratch, Sequence, Transformer};
use super::chunks::for_each_chunk;
use super::kernels::{Matrix, MatrixMut, layer_norm, product};
use crate::model::{
    Features, ModelConfig, ModelError, NoPrompt, Real, Side, TextConfig, TextParams, TextTower, Weights,
};
use crate::tokenizer::{TokenBatch, end_of_text_position};

/// Positions that a chunk of texts aims at.
const CHUNK_POSITIONS: usize = 800;

/// A text tower in f32, "yes" or "no". Attention is causal, so nothing after a text's pooled position is computed, and
/// texts of different lengths stand one after the other without padding: both leave the result as it is.
#[derive(Debug, Clone)]
pub struct TransformerText {
    config: TextConfig,
    embed_dim: usize,
    params: TextParams<f32>,
    transformer: Transformer,
}

impl TransformerText {
    /// The tower of a config with its parameters.
    pub fn new(config: &ModelConfig, mut params: TextParams<f32>) -> Self {
        let transformer = Transformer {
            blocks: std::mem::take(&mut params.blocks),
            width: config.text.width,
            heads: config.text.heads,
            activation: config.activation,
            causal: true,
        };
        Self { config: config.text.clone(), embed_dim: config.embed_dim, params, transformer }
    }

    /// A tower of loaded weights.
    pub fn from_weights(weights: &Weights, side: Side) -> Self {
        Self::new(weights.config(), weights.text(side))
    }

    fn encode_chunk(
        &self,
        scratch: &mut Scratch,
        texts: &[&[u32]],
        positions: &[f32],
        out: &mut [f32],
        threads: usize,
    ) {
        let width = self.config.width;
        let mut x = Vec::with_capacity(texts.iter().map(|ids| ids.len() * width).sum());
        let mut sequences = Vec::with_capacity(texts.len());
        for ids in texts {
            sequences.push(Sequence { start: x.len() / width, length: ids.len(), pooled: ids.len() - 1 });
            for (&id, position) in ids.iter().zip(positions.chunks_exact(width)) {
                let token = &self.params.token_embedding[id as usize * width..][..width];
                x.extend(token.iter().zip(position).map(|(t, p)| t + p));
            }
        }
        let pooled = self.transformer.run(&mut x, &sequences, scratch, threads);
        let mut normed = vec![0.0; pooled.len()];
        layer_norm(&mut normed, &pooled, &self.params.ln_final);
        let projection = Matrix::packed(&self.params.projection, self.embed_dim);
        let out = MatrixMut::packed(out, self.embed_dim);
        product(out, Matrix::packed(&normed, width), projection, 1.0, false, threads);
    }
}

impl TextTower<f32> for TransformerText {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn context_length(&self) -> usize {
        self.config.context_length
    }

    fn encode_with(&self, tokens: &TokenBatch, prompt: NoPrompt) -> Result<Features<f32>, ModelError> {
        check_tokens(tokens, &self.config)?;
        let positions = positions_with_prompt(&self.params, &self.config, prompt)?;
        let texts: Vec<&[u32]> = tokens.rows().map(|ids| &ids[..=end_of_text_position(ids)]).collect();
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let mut values = vec![0.0; texts.len() * self.embed_dim];
        let encode = |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
            self.encode_chunk(scratch, &texts[range], &positions, out, threads);
        };
        for_each_chunk(&lengths, CHUNK_POSITIONS, self.embed_dim, &mut values, encode);
        Ok(Features::new(values, self.embed_dim))
    }
}

/// Every id is in the vocabulary and no row is longer than the context.
pub(super) fn check_tokens(tokens: &TokenBatch, config: &TextConfig) -> Result<(), ModelError> {
    let length = tokens.context_length();
    if length > config.context_length {
        return Err(ModelError::Input(format!(
            "texts of {length} positions are longer than the model's context of {}",
            config.context_length
        )));
    }
    for (row, ids) in tokens.rows().enumerate() {
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(ModelError::TokenOutOfRange { id, row, vocab_size: config.vocab_size });
        }
    }
    Ok(())
}

/// Positional embeddings with the "no" prompt added, `[context_length, width]`.
pub(super) fn positions_with_prompt<'a, T: Real>(
    params: &'a TextParams<T>,
    config: &TextConfig,
    prompt: NoPrompt,
) -> Result<Cow<'a, [T]>, ModelError> {
    let positions: &[T] = &params.positional_embedding;
    let size = config.context_length * config.width;
    let prompts: &[T] = params.prompts.as_deref().unwrap_or_default();
    let count = prompts.len() / size;
    let added: Vec<T> = match prompt {
        NoPrompt::Mean if count == 0 => return Ok(Cow::Borrowed(positions)),
        NoPrompt::Mean => {
            let sum = |i: usize| prompts[i..].iter().step_by(size).copied().sum::<T>();
            (0..size).map(|i| sum(i) / T::of(count as f64)).collect()
        }
        NoPrompt::Index(index) if index < count => prompts[index * size..][..size].to_vec(),
        NoPrompt::Index(index) => return Err(ModelError::PromptOutOfRange { index, count }),
    };
    Ok(Cow::Owned(positions.iter().zip(added).map(|(&p, a)| p + a).collect()))
}
