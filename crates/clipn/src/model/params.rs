//! The parameters of each tower. Matrices are stored as the files store them, `[out, in]`, except projections, which
//! are `[in, out]`.

use super::Real;
use crate::checkpoint::Buffer;

/// A layer norm: weight and bias, `[width]` each.
#[derive(Debug, Clone)]
pub struct NormParams<T: Real> {
    /// Scale, `[width]`.
    pub weight: Buffer<T>,
    /// Shift, `[width]`.
    pub bias: Buffer<T>,
}

/// A linear layer: x·weightᵀ + bias.
#[derive(Debug, Clone)]
pub struct LinearParams<T: Real> {
    /// `[out, in]`.
    pub weight: Buffer<T>,
    /// `[out]`.
    pub bias: Buffer<T>,
}

/// A residual attention block.
#[derive(Debug, Clone)]
pub struct BlockParams<T: Real> {
    /// Norm before attention.
    pub ln_1: NormParams<T>,
    /// Queries, keys and values in one, `[3·width, width]`.
    pub in_proj: LinearParams<T>,
    /// After attention, `[width, width]`.
    pub out_proj: LinearParams<T>,
    /// Norm before the hidden layer.
    pub ln_2: NormParams<T>,
    /// Into the hidden layer, `[mlp_width, width]`.
    pub c_fc: LinearParams<T>,
    /// Out of the hidden layer, `[width, mlp_width]`.
    pub c_proj: LinearParams<T>,
}

/// The image tower.
#[derive(Debug, Clone)]
pub struct VisionParams<T: Real> {
    /// Patch embedding, `[width, 3, patch, patch]`, without bias.
    pub conv1: Buffer<T>,
    /// The class token, `[width]`.
    pub class_embedding: Buffer<T>,
    /// `[1 + grid², width]`, the class token's row first.
    pub positional_embedding: Buffer<T>,
    /// Norm before the first block.
    pub ln_pre: NormParams<T>,
    /// The blocks, first to last.
    pub blocks: Vec<BlockParams<T>>,
    /// Norm of the class token after the last block.
    pub ln_post: NormParams<T>,
    /// `[width, D]`.
    pub proj: Buffer<T>,
}

/// A text tower, "yes" or "no".
#[derive(Debug, Clone)]
pub struct TextParams<T: Real> {
    /// `[vocab_size, width]`.
    pub token_embedding: Buffer<T>,
    /// `[context_length, width]`.
    pub positional_embedding: Buffer<T>,
    /// The learnable "no" prompts, `[prompts, context_length, width]`, added to the embeddings; only in the "no" tower
    /// of the learnable variant.
    pub prompts: Option<Buffer<T>>,
    /// The blocks, first to last.
    pub blocks: Vec<BlockParams<T>>,
    /// Norm of the pooled position after the last block.
    pub ln_final: NormParams<T>,
    /// `[width, D]`.
    pub projection: Buffer<T>,
}
