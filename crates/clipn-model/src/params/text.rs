use clipn_checkpoint::Buffer;

use crate::config::{NO_PROMPTS, TensorSpec, TextConfig, TextSide};
use crate::params::{BlockParams, NamedTensor, NormParams, mlp_width, zero, zip_specs};
use crate::real::Real;

/// Parameters of a text tower, "yes" or "no".
#[derive(Debug, Clone)]
pub struct TextParams<T: Real> {
    /// Token embedding, `[vocab_size, width]`.
    pub token_embedding: Buffer<T>,
    /// Positional embedding, `[context_length, width]`.
    pub positional_embedding: Buffer<T>,
    /// Learnable "no" prompts added to the embeddings, `[prompts, context_length, width]`; only in
    /// the "no" tower of the learnable variant.
    pub prompts: Option<Buffer<T>>,
    /// Transformer blocks, first to last.
    pub blocks: Vec<BlockParams<T>>,
    /// Layer norm of the pooled position after the last block.
    pub ln_final: NormParams<T>,
    /// Projection to features, `[width, D]`.
    pub projection: Buffer<T>,
}

impl<T: Real> TextParams<T> {
    /// Returns every parameter by open_clip's name on the given side, with the "no" prompts last if
    /// there are any.
    pub fn named_tensors(&self, side: TextSide) -> Vec<NamedTensor<&[T]>> {
        zip_specs(self.specs(side), self.buffers().into_iter().map(|b| &b[..]))
    }

    /// Returns [`TextParams::named_tensors`] for writing. Parameters in a mapped file or shared buffer are
    /// copied first.
    pub fn named_tensors_mut(&mut self, side: TextSide) -> Vec<NamedTensor<&mut [T]>> {
        zip_specs(
            self.specs(side),
            self.buffers_mut().into_iter().map(Buffer::make_mut),
        )
    }

    /// Returns zeros with the shapes of these parameters. For gradients use
    /// [`TextGradient::zeros_like`](crate::TextGradient::zeros_like), which stores the token
    /// embedding sparsely.
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.buffers_mut().into_iter().for_each(zero);
        zeros
    }

    /// Returns the width of the transformer.
    pub(crate) fn width(&self) -> usize {
        self.ln_final.weight.len()
    }

    /// Returns names and shapes in the order of [`TextParams::buffers`].
    fn specs(&self, side: TextSide) -> Vec<TensorSpec> {
        let width = self.width().max(1);
        let config = TextConfig {
            context_length: self.positional_embedding.len() / width,
            vocab_size: self.token_embedding.len() / width,
            width,
            layers: self.blocks.len(),
            heads: 1,
            mlp_width: mlp_width(&self.blocks),
        };
        let mut specs = config.tensors(self.projection.len() / width, side);
        if let Some(prompts) = &self.prompts {
            let size = self.positional_embedding.len().max(1);
            specs.push(TensorSpec {
                name: NO_PROMPTS.to_owned(),
                shape: vec![prompts.len() / size, config.context_length, width],
            });
        }
        specs
    }

    /// Returns the buffers in the order of [`TextConfig::tensors`], with the prompts last.
    pub fn buffers(&self) -> Vec<&Buffer<T>> {
        let mut all = vec![
            &self.token_embedding,
            &self.positional_embedding,
            &self.projection,
        ];
        all.extend(self.blocks.iter().flat_map(BlockParams::buffers));
        all.extend([&self.ln_final.weight, &self.ln_final.bias]);
        all.extend(&self.prompts);
        all
    }

    /// Returns [`TextParams::buffers`] for writing.
    pub fn buffers_mut(&mut self) -> Vec<&mut Buffer<T>> {
        let mut all = vec![
            &mut self.token_embedding,
            &mut self.positional_embedding,
            &mut self.projection,
        ];
        all.extend(self.blocks.iter_mut().flat_map(BlockParams::buffers_mut));
        all.extend([&mut self.ln_final.weight, &mut self.ln_final.bias]);
        all.extend(&mut self.prompts);
        all
    }
}
