//! Parameters of each tower, by name, with their gradients. Matrices have the layout of the files,
//! `[out, in]`, except projections, which are `[in, out]`.

mod gradient;
mod positional_embedding;
mod resnet;
mod text;
mod vision;

use clipn_checkpoint::Buffer;

use crate::config::TensorSpec;
use crate::real::Real;

pub use gradient::{SparseGradient, TensorGradient, TextGradient};
pub use positional_embedding::{CoordinateMapping, PatchGrid, resize_positional_embedding};
pub use resnet::{
    AttentionPoolParams, BatchNormParams, BottleneckParams, ConvParams, ResNetParams,
};
pub use text::TextParams;
pub use vision::VisionParams;

/// Whether weight decay applies to a parameter, as published: it has at least two dimensions, and its name
/// does not contain `bn`, `ln`, `bias` or `logit_scale`.
pub fn has_weight_decay(name: &str, shape: &[usize]) -> bool {
    shape.len() >= 2
        && !["bn", "ln", "bias", "logit_scale"]
            .iter()
            .any(|part| name.contains(part))
}

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

/// Joins names and shapes with values in the same order.
fn zip_specs<V>(
    specs: Vec<TensorSpec>,
    values: impl IntoIterator<Item = V>,
) -> Vec<NamedTensor<V>> {
    specs
        .into_iter()
        .zip(values)
        .map(|(TensorSpec { name, shape }, values)| NamedTensor {
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
    /// Returns the buffers in the order of [`TextConfig::tensors`](crate::TextConfig::tensors).
    pub(crate) fn buffers(&self) -> [&Buffer<T>; 12] {
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

    pub(crate) fn buffers_mut(&mut self) -> [&mut Buffer<T>; 12] {
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
