//! Input and output of an optimizer step.

use std::borrow::Cow;

use clipn_model::{PromptSelection, Real};
use clipn_text::tokenizer::TokenBatch;

/// Images of a micro-batch.
#[derive(Debug, Clone)]
pub enum ImageInput<'a, T: Real> {
    /// Normalized pixels of square images, `[N, 3, S, S]`.
    Pixels {
        /// Pixel values, row-major.
        values: Cow<'a, [T]>,
        /// Side S in pixels.
        size: usize,
    },
    /// Precomputed normalized features of a frozen tower, `[N, D]`.
    Features(Vec<T>),
}

/// "Yes" texts of a micro-batch.
#[derive(Debug, Clone)]
pub enum TextInput<T> {
    /// Token ids, `[N, L]`.
    Tokens(TokenBatch),
    /// Precomputed normalized features of a frozen tower, `[N, D]`.
    Features(Vec<T>),
}

/// "No" texts of a micro-batch.
#[derive(Debug, Clone)]
pub struct NoTexts {
    /// Token ids, `[N, L]`.
    pub tokens: TokenBatch,
    /// Prompt of each text, `[N]`.
    pub prompts: Vec<PromptSelection>,
}

/// A micro-batch: a part of a batch that fits in memory. The loss is computed over all
/// micro-batches together.
#[derive(Debug, Clone)]
pub struct MicroBatch<'a, T: Real> {
    /// Images.
    pub images: ImageInput<'a, T>,
    /// Input of the "yes" tower.
    pub yes: TextInput<T>,
    /// Input of the "no" tower; `None` if there is no such tower.
    pub no: Option<NoTexts>,
    /// Outliers, for an objective that uses them.
    pub outliers: Option<ImageInput<'a, T>>,
}

/// Losses of one optimizer step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Total loss, which is minimized.
    pub total: f64,
    /// Terms of the loss by name, before weighting.
    pub terms: Vec<(&'static str, f64)>,
    /// Global norm of the gradient before clipping; `None` if there is no clipping.
    pub gradient_norm: Option<f64>,
}
