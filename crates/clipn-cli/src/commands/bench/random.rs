//! Random weights and inputs in the shapes of a config, at a scale that keeps activations finite.

use clipn::checkpoint::Buffer;
use clipn::model::{BlockParams, LinearParams, ModelConfig, NormParams, TextParams, VisionParams};
use clipn::random::{RandomSource, Xoshiro256};
use clipn::tokenizer::{TokenBatch, TokenizerError};

/// Generator of random weights and inputs.
#[derive(Debug)]
pub(crate) struct RandomInputs(Xoshiro256);

impl RandomInputs {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256::new(seed))
    }

    /// `count` uniform numbers in [−scale, scale).
    pub(crate) fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count)
            .map(|_| (self.0.unit() as f32 * 2.0 - 1.0) * scale)
            .collect()
    }

    /// Texts of `length` ids without padding: the last id is the largest of the vocabulary, which
    /// marks the end of a text.
    pub(crate) fn texts(
        &mut self,
        rows: usize,
        length: usize,
        vocabulary: usize,
    ) -> Result<TokenBatch, TokenizerError> {
        let last = vocabulary.saturating_sub(1);
        let ids = (0..rows * length)
            .map(|position| match (position + 1) % length {
                0 => last as u32,
                _ => self.0.below(last as u64) as u32,
            })
            .collect();
        TokenBatch::new(ids, length)
    }

    pub(crate) fn vision(&mut self, config: &ModelConfig) -> VisionParams<f32> {
        let v = &config.vision;
        let inner = 3 * v.patch_size * v.patch_size;
        VisionParams {
            conv1: self.matrix(v.width, inner),
            class_embedding: self.buffer(v.width, 0.02),
            positional_embedding: self.buffer((1 + v.grid() * v.grid()) * v.width, 0.02),
            ln_pre: norm(v.width),
            blocks: self.blocks(v.layers, v.width, v.mlp_width),
            ln_post: norm(v.width),
            proj: self.matrix(config.embed_dim, v.width),
        }
    }

    pub(crate) fn text(&mut self, config: &ModelConfig, prompts: usize) -> TextParams<f32> {
        let t = &config.text;
        TextParams {
            token_embedding: self.buffer(t.vocab_size * t.width, 0.02),
            positional_embedding: self.buffer(t.context_length * t.width, 0.01),
            prompts: (prompts > 0).then(|| vec![0.0; prompts * t.context_length * t.width].into()),
            blocks: self.blocks(t.layers, t.width, t.mlp_width),
            ln_final: norm(t.width),
            projection: self.matrix(config.embed_dim, t.width),
        }
    }

    fn buffer(&mut self, count: usize, scale: f32) -> Buffer<f32> {
        self.values(count, scale).into()
    }

    /// Weights whose product with inputs of unit scale has unit scale.
    fn matrix(&mut self, out: usize, inner: usize) -> Buffer<f32> {
        self.buffer(out * inner, (inner as f32).powf(-0.5) * 1.7)
    }

    fn linear(&mut self, out: usize, inner: usize) -> LinearParams<f32> {
        LinearParams {
            weight: self.matrix(out, inner),
            bias: vec![0.0; out].into(),
        }
    }

    fn blocks(&mut self, layers: usize, width: usize, mlp_width: usize) -> Vec<BlockParams<f32>> {
        let block = |_| BlockParams {
            ln_1: norm(width),
            in_proj: self.linear(3 * width, width),
            out_proj: self.linear(width, width),
            ln_2: norm(width),
            c_fc: self.linear(mlp_width, width),
            c_proj: self.linear(width, mlp_width),
        };
        (0..layers).map(block).collect()
    }
}

fn norm(width: usize) -> NormParams<f32> {
    NormParams {
        weight: vec![1.0; width].into(),
        bias: vec![0.0; width].into(),
    }
}

#[cfg(test)]
mod tests {
    use clipn::tokenizer::end_of_text_position;

    use super::*;

    #[test]
    fn texts_have_no_padding() {
        let texts = RandomInputs::new(1).texts(5, 16, 100).unwrap();
        assert_eq!(texts.len(), 5);
        assert!(texts.rows().all(|row| end_of_text_position(row) == 15));
    }
}
