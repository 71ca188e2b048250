use clipn_checkpoint::Buffer;

use crate::config::{TensorSpec, VisionConfig};
use crate::params::{BlockParams, NamedTensor, NormParams, mlp_width, zero, zip_specs};
use crate::real::Real;

/// Parameters of a ViT image tower.
#[derive(Debug, Clone)]
pub struct VisionParams<T: Real> {
    /// Patch embedding without bias, `[width, 3, patch, patch]`.
    pub conv1: Buffer<T>,
    /// Class token, `[width]`.
    pub class_embedding: Buffer<T>,
    /// Positional embedding, `[1 + grid², width]`, with the class token's row first.
    pub positional_embedding: Buffer<T>,
    /// Layer norm before the first block.
    pub ln_pre: NormParams<T>,
    /// Transformer blocks, first to last.
    pub blocks: Vec<BlockParams<T>>,
    /// Layer norm of the class token after the last block.
    pub ln_post: NormParams<T>,
    /// Projection to features, `[width, D]`.
    pub proj: Buffer<T>,
}

impl<T: Real> VisionParams<T> {
    /// Returns every parameter by open_clip's name.
    pub fn named_tensors(&self) -> Vec<NamedTensor<&[T]>> {
        zip_specs(self.specs(), self.buffers().into_iter().map(|b| &b[..]))
    }

    /// Returns [`VisionParams::named_tensors`] for writing. Parameters in a mapped file or shared buffer
    /// are copied first.
    pub fn named_tensors_mut(&mut self) -> Vec<NamedTensor<&mut [T]>> {
        zip_specs(
            self.specs(),
            self.buffers_mut().into_iter().map(Buffer::make_mut),
        )
    }

    /// Returns zeros with the shapes of these parameters, as the start of a gradient.
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.buffers_mut().into_iter().for_each(zero);
        zeros
    }

    /// Returns names and shapes in the order of [`VisionParams::buffers`].
    fn specs(&self) -> Vec<TensorSpec> {
        let width = self.class_embedding.len().max(1);
        let patch_size = (self.conv1.len() / (3 * width)).isqrt();
        let grid = (self.positional_embedding.len() / width)
            .saturating_sub(1)
            .isqrt();
        let config = VisionConfig {
            image_size: grid * patch_size,
            patch_size: patch_size.max(1),
            width,
            layers: self.blocks.len(),
            heads: 1,
            mlp_width: mlp_width(&self.blocks),
            stages: None,
        };
        config.tensors(self.proj.len() / width)
    }

    /// Returns the buffers in the order of [`VisionConfig::tensors`].
    pub fn buffers(&self) -> Vec<&Buffer<T>> {
        let mut all = vec![
            &self.class_embedding,
            &self.positional_embedding,
            &self.proj,
            &self.conv1,
        ];
        all.extend([&self.ln_pre.weight, &self.ln_pre.bias]);
        all.extend(self.blocks.iter().flat_map(BlockParams::buffers));
        all.extend([&self.ln_post.weight, &self.ln_post.bias]);
        all
    }

    /// Returns [`VisionParams::buffers`] for writing.
    pub fn buffers_mut(&mut self) -> Vec<&mut Buffer<T>> {
        let mut all = vec![
            &mut self.class_embedding,
            &mut self.positional_embedding,
            &mut self.proj,
            &mut self.conv1,
        ];
        all.extend([&mut self.ln_pre.weight, &mut self.ln_pre.bias]);
        all.extend(self.blocks.iter_mut().flat_map(BlockParams::buffers_mut));
        all.extend([&mut self.ln_post.weight, &mut self.ln_post.bias]);
        all
    }
}
