use clipn_model::{
    Activation, FeatureMatrix, ModelConfig, ModelError, ModelWeights, PromptSelection, Real,
    TextConfig, TextGradient, TextParams, TextSide, TextTower, TrainableTextTower, check_length,
    check_tokens,
};
use clipn_text::tokenizer::{TokenBatch, end_of_text_position};

use super::backward::{layer_norm_backward, project_backward, run_blocks_backward, trace};
use super::block::{BlockShape, add, layer_norm, project, run_blocks};
use crate::text::{PromptTables, add_position_gradients};

/// CLIPN's text tower, "yes" or "no", straight from its definition. It computes all positions of
/// the context.
#[derive(Debug, Clone)]
pub struct ReferenceText<T: Real> {
    config: TextConfig,
    activation: Activation,
    embed_dim: usize,
    params: TextParams<T>,
}

impl<T: Real> ReferenceText<T> {
    /// Creates a tower from a config and its parameters.
    pub fn new(config: &ModelConfig, params: TextParams<T>) -> Self {
        Self {
            config: config.text.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
        }
    }

    /// Creates the tower of one side from loaded weights.
    pub fn from_weights(weights: &ModelWeights, side: TextSide) -> Self {
        Self::new(weights.config(), weights.text_params(side))
    }

    fn shape(&self) -> BlockShape {
        BlockShape {
            width: self.config.width,
            heads: self.config.heads,
            activation: self.activation,
            causal: true,
        }
    }

    /// Returns the token embeddings of a text plus `positions`, `[length, width]`.
    fn embed(&self, ids: &[u32], positions: &[T]) -> Vec<T> {
        let width = self.config.width;
        let row = |&id: &u32| &self.params.token_embedding[id as usize * width..][..width];
        let mut x: Vec<T> = ids.iter().flat_map(row).copied().collect();
        add(&mut x, positions);
        x
    }

    /// Computes the features of texts, each with its own prompt.
    fn encode_each(
        &self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<FeatureMatrix<T>, ModelError> {
        check_tokens(tokens, &self.config)?;
        let tables = PromptTables::new(&self.params, &self.config, prompts, tokens.len())?;
        let width = self.config.width;
        let mut values = Vec::with_capacity(tokens.len() * self.embed_dim);
        for (text, ids) in tokens.rows().enumerate() {
            let mut x = self.embed(ids, tables.for_text(text));
            run_blocks(&mut x, &self.params.blocks, self.shape());
            let end = end_of_text_position(ids);
            let pooled = layer_norm(&x[end * width..][..width], &self.params.ln_final, width);
            values.extend(project(&pooled, &self.params.projection, width));
        }
        Ok(FeatureMatrix::new(values, self.embed_dim))
    }
}

impl<T: Real> TextTower<T> for ReferenceText<T> {
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
    ) -> Result<FeatureMatrix<T>, ModelError> {
        self.encode_each(tokens, &vec![prompt; tokens.len()])
    }
}

/// Tape of a forward pass of a [`ReferenceText`]: only its inputs, from which the backward pass
/// recomputes everything.
#[derive(Debug, Clone)]
pub struct ReferenceTextTape {
    tokens: TokenBatch,
    prompts: Vec<PromptSelection>,
}

impl<T: Real> TrainableTextTower<T> for ReferenceText<T> {
    type Tape = ReferenceTextTape;

    fn forward(
        &self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<(FeatureMatrix<T>, ReferenceTextTape), ModelError> {
        let features = self.encode_each(tokens, prompts)?;
        Ok((
            features,
            ReferenceTextTape {
                tokens: tokens.clone(),
                prompts: prompts.to_vec(),
            },
        ))
    }

    fn backward(
        &self,
        tape: ReferenceTextTape,
        d_features: &[T],
        gradient: &mut TextGradient<T>,
    ) -> Result<(), ModelError> {
        let ReferenceTextTape { tokens, prompts } = tape;
        check_length(
            "the feature gradient",
            d_features.len(),
            tokens.len() * self.embed_dim,
        )?;
        gradient.check_shapes(&self.params)?;
        let tables = PromptTables::new(&self.params, &self.config, &prompts, tokens.len())?;
        let (width, params) = (self.config.width, &self.params);
        for (text, ids) in tokens.rows().enumerate() {
            let d = &d_features[text * self.embed_dim..][..self.embed_dim];
            let trace = trace(
                self.embed(ids, tables.for_text(text)),
                &params.blocks,
                self.shape(),
            );
            let end = end_of_text_position(ids) * width;
            let pooled = &trace[params.blocks.len()][end..end + width];
            let normed = layer_norm(pooled, &params.ln_final, width);
            let dense = &mut gradient.others;
            let d_normed =
                project_backward(d, &normed, &params.projection, width, &mut dense.projection);
            let d_pooled =
                layer_norm_backward(&d_normed, pooled, &params.ln_final, &mut dense.ln_final);
            let mut d = vec![T::zero(); ids.len() * width];
            d[end..end + width].copy_from_slice(&d_pooled);
            let d = run_blocks_backward(d, &trace, &params.blocks, self.shape(), &mut dense.blocks);
            for (&id, d) in ids.iter().zip(d.chunks_exact(width)) {
                gradient.token_embedding.add(id, d);
            }
            add_position_gradients(
                &mut gradient.others,
                std::iter::once((&d[..], prompts[text])),
            );
        }
        Ok(())
    }

    fn params(&self) -> &TextParams<T> {
        &self.params
    }

    fn params_mut(&mut self) -> &mut TextParams<T> {
        &mut self.params
    }
}
