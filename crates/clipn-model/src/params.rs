//! Parameters of each tower. Matrices have the layout of the files, `[out, in]`, except
//! projections, which are `[in, out]`.

use super::names::{self, Named, PROMPT_NO, Side};
use super::{Real, TextConfig, VisionConfig};
use clipn_checkpoint::Buffer;

/// Parameters of a layer norm.
#[derive(Debug, Clone)]
pub struct NormParams<T: Real> {
    /// Scale, `[width]`.
    pub weight: Buffer<T>,
    /// Shift, `[width]`.
    pub bias: Buffer<T>,
}

/// Parameters of a linear layer, x·weightᵀ + bias.
#[derive(Debug, Clone)]
pub struct LinearParams<T: Real> {
    /// `[out, in]`.
    pub weight: Buffer<T>,
    /// `[out]`.
    pub bias: Buffer<T>,
}

/// Parameters of a residual attention block.
#[derive(Debug, Clone)]
pub struct BlockParams<T: Real> {
    /// Layer norm before attention.
    pub ln_1: NormParams<T>,
    /// Projection to queries, keys and values, `[3·width, width]`.
    pub in_proj: LinearParams<T>,
    /// Projection after attention, `[width, width]`.
    pub out_proj: LinearParams<T>,
    /// Layer norm before the MLP.
    pub ln_2: NormParams<T>,
    /// First layer of the MLP, `[mlp_width, width]`.
    pub c_fc: LinearParams<T>,
    /// Second layer of the MLP, `[width, mlp_width]`.
    pub c_proj: LinearParams<T>,
}

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

/// A tensor with its name, borrowed (`V` is `&[T]` or `&mut [T]`) or owned.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor<V> {
    /// Name in open_clip.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: V,
}

pub(super) fn zip_names<V>(
    names: Vec<Named>,
    values: impl IntoIterator<Item = V>,
) -> Vec<NamedTensor<V>> {
    names
        .into_iter()
        .zip(values)
        .map(|((name, shape), values)| NamedTensor {
            name,
            shape,
            values,
        })
        .collect()
}

/// Replaces a shared or mapped buffer with zeros.
fn zero<T: Real>(buffer: &mut Buffer<T>) {
    *buffer = vec![T::zero(); buffer.len()].into();
}

impl<T: Real> BlockParams<T> {
    /// Returns the buffers in the order of [`names`].
    fn buffers(&self) -> [&Buffer<T>; 12] {
        let Self {
            ln_1,
            in_proj,
            out_proj,
            ln_2,
            c_fc,
            c_proj,
        } = self;
        [
            &ln_1.weight,
            &ln_1.bias,
            &in_proj.weight,
            &in_proj.bias,
            &out_proj.weight,
            &out_proj.bias,
            &ln_2.weight,
            &ln_2.bias,
            &c_fc.weight,
            &c_fc.bias,
            &c_proj.weight,
            &c_proj.bias,
        ]
    }

    fn buffers_mut(&mut self) -> [&mut Buffer<T>; 12] {
        let Self {
            ln_1,
            in_proj,
            out_proj,
            ln_2,
            c_fc,
            c_proj,
        } = self;
        [
            &mut ln_1.weight,
            &mut ln_1.bias,
            &mut in_proj.weight,
            &mut in_proj.bias,
            &mut out_proj.weight,
            &mut out_proj.bias,
            &mut ln_2.weight,
            &mut ln_2.bias,
            &mut c_fc.weight,
            &mut c_fc.bias,
            &mut c_proj.weight,
            &mut c_proj.bias,
        ]
    }
}

/// Returns the width of the hidden layer, or 0 if there are no blocks.
fn mlp_width<T: Real>(blocks: &[BlockParams<T>]) -> usize {
    blocks.first().map_or(0, |block| block.c_fc.bias.len())
}

impl<T: Real> VisionParams<T> {
    /// Returns every parameter by open_clip's name.
    pub fn named(&self) -> Vec<NamedTensor<&[T]>> {
        zip_names(self.names(), self.buffers().into_iter().map(|b| &b[..]))
    }

    /// Returns [`VisionParams::named`] for writing. Parameters in a mapped file or shared buffer
    /// are copied first.
    pub fn named_mut(&mut self) -> Vec<NamedTensor<&mut [T]>> {
        zip_names(
            self.names(),
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
    fn names(&self) -> Vec<Named> {
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
        names::vision(&config, self.proj.len() / width)
    }

    /// Returns the buffers in the order of [`names::vision`].
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

impl<T: Real> TextParams<T> {
    /// Returns every parameter by open_clip's name on the given side, with the "no" prompts last if
    /// there are any.
    pub fn named(&self, side: Side) -> Vec<NamedTensor<&[T]>> {
        zip_names(self.names(side), self.buffers().into_iter().map(|b| &b[..]))
    }

    /// Returns [`TextParams::named`] for writing. Parameters in a mapped file or shared buffer are
    /// copied first.
    pub fn named_mut(&mut self, side: Side) -> Vec<NamedTensor<&mut [T]>> {
        zip_names(
            self.names(side),
            self.buffers_mut().into_iter().map(Buffer::make_mut),
        )
    }

    /// Returns zeros with the shapes of these parameters. For gradients use
    /// [`TextGradient::zeros_like`](super::TextGradient::zeros_like), which stores the token
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
    fn names(&self, side: Side) -> Vec<Named> {
        let width = self.width().max(1);
        let config = TextConfig {
            context_length: self.positional_embedding.len() / width,
            vocab_size: self.token_embedding.len() / width,
            width,
            layers: self.blocks.len(),
            heads: 1,
            mlp_width: mlp_width(&self.blocks),
        };
        let mut names = names::text(&config, self.projection.len() / width, side);
        if let Some(prompts) = &self.prompts {
            let size = self.positional_embedding.len().max(1);
            names.push((
                PROMPT_NO.to_owned(),
                vec![prompts.len() / size, config.context_length, width],
            ));
        }
        names
    }

    /// Returns the buffers in the order of [`names::text`], with the prompts last.
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
