use super::block::{BlockShape, add, layer_norm, project, transform};
use crate::engine::text::{check_tokens, positions_with_prompt};
use crate::model::{
    Activation, Features, ModelConfig, ModelError, NoPrompt, Real, Side, TextConfig, TextParams, TextTower,
    Weights,
};
use crate::tokenizer::{TokenBatch, end_of_text_position};

/// A text tower as its definition reads: all positions of the context are computed.
#[derive(Debug, Clone)]
pub struct PlainText<T: Real> {
    config: TextConfig,
    activation: Activation,
    embed_dim: usize,
    params: TextParams<T>,
}

impl<T: Real> PlainText<T> {
    /// The tower of a config with its parameters.
    pub fn new(config: &ModelConfig, params: TextParams<T>) -> Self {
        Self {
            config: config.text.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
        }
    }

    /// A tower of loaded weights.
    pub fn from_weights(weights: &Weights, side: Side) -> Self {
        Self::new(weights.config(), weights.text(side))
    }
}

impl<T: Real> TextTower<T> for PlainText<T> {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn context_length(&self) -> usize {
        self.config.context_length
    }

    fn encode_with(&self, tokens: &TokenBatch, prompt: NoPrompt) -> Result<Features<T>, ModelError> {
        check_tokens(tokens, &self.config)?;
        let positions = positions_with_prompt(&self.params, &self.config, prompt)?;
        let width = self.config.width;
        let shape = BlockShape { width, heads: self.config.heads, activation: self.activation, causal: true };
        let mut values = Vec::with_capacity(tokens.len() * self.embed_dim);
        for ids in tokens.rows() {
            let row = |&id: &u32| &self.params.token_embedding[id as usize * width..][..width];
            let mut x: Vec<T> = ids.iter().flat_map(row).copied().collect();
            add(&mut x, &positions);
            transform(&mut x, &self.params.blocks, shape);
            let end = end_of_text_position(ids);
            let pooled = layer_norm(&x[end * width..][..width], &self.params.ln_final, width);
            values.extend(project(&pooled, &self.params.projection, width));
        }
        Ok(Features::new(values, self.embed_dim))
    }
}
