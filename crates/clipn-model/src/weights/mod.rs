//! Weights validated against a config, and what a weights file says without one.
//!
//! | module | content |
//! |---|---|
//! | this | the tensors of a model, validated; parameters of each tower |
//! | `mismatch` | comparison of a file with a config |
//! | `image_tower` | the image tower without the texts; hashes of the towers |
//! | `metadata`, `vocabulary` | this project's metadata: templates, logit scale, training vocabulary |
//! | `infer` | the architecture that names and shapes suggest |

mod image_tower;
mod infer;
mod metadata;
mod mismatch;
mod vocabulary;

use std::path::Path;

use clipn_checkpoint::{Buffer, Checkpoint, CheckpointError, Tensor};
use num_traits::Zero;

use crate::config::{
    ModelConfig, NO_PROMPTS, RESNET_POSITIONAL_EMBEDDING, TextSide, VIT_POSITIONAL_EMBEDDING,
    is_no_side,
};
use crate::error::ModelError;
use crate::params::{
    BlockParams, CoordinateMapping, LinearParams, NormParams, PatchGrid, ResNetParams, TextParams,
    VisionParams, resize_positional_embedding,
};
use crate::precision::Precision;
use crate::real::Real;

pub use image_tower::ImageTowerWeights;
pub use infer::{InferredArchitecture, InferredImageTower, InferredTextTower};
pub use metadata::{LogitScale, WeightsMetadata};
pub use vocabulary::TrainingVocabulary;

/// Names of tensors that other programs store but that are not parameters.
const IGNORED: &[&str] = &[
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "num_batches_tracked",
];

/// Origin of the "no" side of loaded weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSideOrigin {
    /// The "no" side is in the file.
    Stored,
    /// The file is a plain CLIP. The "no" side is a copy of the "yes" side, so CTW and ATD are
    /// meaningless before training.
    CopiedFromYes,
}

/// Weights validated against a model config: every tensor is present and has the expected shape.
/// Towers are extracted one by one, so that a program keeps only those it uses in memory.
#[derive(Debug, Clone)]
pub struct ModelWeights {
    config: ModelConfig,
    checkpoint: Checkpoint,
    no_side: NoSideOrigin,
    training_vocabulary: Option<TrainingVocabulary>,
    no_scale: f64,
    precision: Precision,
}

impl ModelWeights {
    /// Validates the tensors of a file against a config.
    ///
    /// # Errors
    /// One [`ModelError::WeightsMismatch`] that counts all missing, unexpected and wrongly shaped
    /// tensors and lists the first of each kind.
    pub fn new(config: ModelConfig, checkpoint: Checkpoint) -> Result<Self, ModelError> {
        let no_side = if checkpoint.iter().any(|(name, _)| is_no_side(name)) {
            NoSideOrigin::Stored
        } else {
            NoSideOrigin::CopiedFromYes
        };
        let metadata = WeightsMetadata::from_checkpoint(&checkpoint);
        Self {
            config,
            checkpoint,
            no_side,
            training_vocabulary: metadata.training_vocabulary,
            no_scale: metadata.no_scale.unwrap_or(1.0),
            precision: Precision::F32,
        }
        .validated()
    }

    /// Validates only the tensors of the image tower; the text towers of the result must not be
    /// used.
    pub(super) fn image_tower_only(
        config: ModelConfig,
        checkpoint: Checkpoint,
    ) -> Result<Self, ModelError> {
        Self {
            config,
            checkpoint,
            no_side: NoSideOrigin::CopiedFromYes,
            training_vocabulary: None,
            no_scale: 1.0,
            precision: Precision::F32,
        }
        .validated_image_tower()
    }

    /// Returns the architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the tensors.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Iterates over the tensors that are parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.checkpoint.iter().filter(|(name, _)| !is_ignored(name))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Whether all tensors are in memory-mapped files, so that they take no memory of their own.
    pub fn is_mapped(&self) -> bool {
        self.checkpoint.iter().all(|(_, tensor)| tensor.is_mapped())
    }

    /// Checks that no file of the tensors was changed since it was opened.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] if one was changed in place.
    pub fn check_unchanged(&self) -> Result<(), ModelError> {
        Ok(self.checkpoint.check_unchanged()?)
    }

    /// Returns the resident memory of a mapped file to the system, for use after a tower is no
    /// longer needed. Pages that a tower still uses are read again on access.
    pub fn release_pages(&self) {
        self.checkpoint
            .iter()
            .for_each(|(_, tensor)| tensor.release());
    }

    /// Sets the precision of the towers that are created from these weights for inference [default:
    /// f32].
    ///
    /// # Errors
    /// [`ModelError::UnsupportedPrecision`] for a ResNet in another precision than f32.
    pub fn with_precision(self, precision: Precision) -> Result<Self, ModelError> {
        if precision != Precision::F32 && self.config.vision.stages.is_some() {
            return Err(ModelError::UnsupportedPrecision {
                model: self.config.name,
                precision,
            });
        }
        Ok(Self { precision, ..self })
    }

    /// Returns the precision of the towers that are created from these weights for inference.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns whether the file has weights in 8-bit integers, whose channels were balanced before
    /// they were quantized.
    pub fn is_quantized(&self) -> bool {
        self.checkpoint
            .iter()
            .any(|(_, tensor)| tensor.row_scales().is_some())
    }

    /// Returns whether the "no" side was stored or copied.
    pub fn no_side_origin(&self) -> NoSideOrigin {
        self.no_side
    }

    /// Returns the training vocabulary if the file has it. The token embedding may then contain
    /// only the rows of these words; the other rows are zero.
    pub fn training_vocabulary(&self) -> Option<&TrainingVocabulary> {
        self.training_vocabulary.as_ref()
    }

    /// Returns the number of learnable "no" prompts; 0 in the hand-crafted variant and in a plain
    /// CLIP.
    pub fn no_prompts(&self) -> usize {
        self.checkpoint.get(NO_PROMPTS).map_or(0, |t| t.shape()[0])
    }

    /// Returns the trained factor of the logits, `exp(logit_scale)`.
    pub fn logit_scale(&self) -> f64 {
        self.value::<f64>("logit_scale")
            .first()
            .copied()
            .unwrap_or_default()
            .exp()
    }

    /// Returns the factor of the "no" logits over "yes" logits of the same cosine, with which "no" was
    /// trained: 1, as published, unless the metadata names another.
    pub fn no_scale(&self) -> f64 {
        self.no_scale
    }

    /// Returns the parameters of a ViT image tower, or empty ones if the config has a ResNet.
    /// Positional embeddings of another grid are resized as open_clip does on load.
    /// `clipn_engine::image_tower` opens either kind of tower.
    pub fn vision_params<T: Real>(&self) -> VisionParams<T> {
        VisionParams {
            conv1: self.value("visual.conv1.weight"),
            class_embedding: self.value("visual.class_embedding"),
            positional_embedding: self
                .vision_positions(VIT_POSITIONAL_EMBEDDING, self.config.vision.width),
            ln_pre: self.norm("visual.ln_pre"),
            blocks: self.blocks("visual.transformer", self.config.vision.layers),
            ln_post: self.norm("visual.ln_post"),
            proj: self.value("visual.proj"),
        }
    }

    /// Returns the parameters of a ResNet image tower. Positional embeddings of another grid are
    /// resized as for a ViT.
    ///
    /// # Errors
    /// [`ModelError::NotAResNet`] if the config's image tower is a ViT.
    pub fn resnet_params<T: Real>(&self) -> Result<ResNetParams<T>, ModelError> {
        ResNetParams::from_fn(&self.config, |name, shape| match name {
            RESNET_POSITIONAL_EMBEDDING => self.vision_positions(name, shape[1]),
            _ => self.value(name),
        })
    }

    /// Returns the parameters of a text tower.
    pub fn text_params<T: Real>(&self, side: TextSide) -> TextParams<T> {
        let stored = if self.no_side == NoSideOrigin::CopiedFromYes {
            TextSide::Yes
        } else {
            side
        };
        let no = stored.suffix();
        TextParams {
            token_embedding: self.token_table(&format!("token_embedding{no}.weight")),
            positional_embedding: self.value(&format!("positional_embedding{no}")),
            prompts: match stored {
                TextSide::Yes => None,
                TextSide::No => self.checkpoint.get(NO_PROMPTS).map(T::load),
            },
            blocks: self.blocks(&format!("transformer{no}"), self.config.text.layers),
            ln_final: self.norm(&format!("ln_final{no}")),
            projection: self.value(&format!("text_projection{no}")),
        }
    }

    fn token_table<T: Real>(&self, name: &str) -> Buffer<T> {
        let stored: Buffer<T> = self.value(name);
        let (rows, width) = (self.config.text.vocab_size, self.config.text.width);
        match &self.training_vocabulary {
            Some(words) if stored.len() < rows * width => {
                scatter_rows(&words.token_ids(), &stored, width, rows).into()
            }
            _ => stored,
        }
    }

    /// Returns a tensor for writing. A token embedding gets a row for every token, or only for the
    /// tokens of the training vocabulary if `vocabulary_only` is set.
    pub(crate) fn with_token_rows(
        &self,
        name: &str,
        tensor: &Tensor,
        vocabulary_only: bool,
    ) -> Result<Tensor, CheckpointError> {
        let (Some(words), [rows, width]) = (&self.training_vocabulary, tensor.shape()) else {
            return Ok(tensor.clone());
        };
        let vocab_size = self.config.text.vocab_size;
        let is_whole = *rows == vocab_size;
        if !name.starts_with("token_embedding") || is_whole != vocabulary_only {
            return Ok(tensor.clone());
        }
        let ids = words.token_ids();
        // The vocabulary comes from another tokenizer than the model's.
        if ids.iter().any(|&id| id as usize >= vocab_size) {
            return Ok(tensor.clone());
        }
        let len = width * tensor.dtype().size();
        let stored = tensor.bytes();
        let (rows, bytes) = if vocabulary_only {
            let taken = ids
                .iter()
                .flat_map(|&id| &stored[id as usize * len..][..len]);
            (ids.len(), taken.copied().collect())
        } else {
            (vocab_size, scatter_rows(&ids, stored, len, vocab_size))
        };
        Tensor::from_bytes(tensor.dtype(), &[rows, *width], bytes)
    }

    fn vision_positions<T: Real>(&self, name: &str, width: usize) -> Buffer<T> {
        let stored: Buffer<T> = self.value(name);
        let grid = self.config.vision.grid();
        match square_grid(stored.len() / width) {
            Some(from) if from != grid => resize_positional_embedding(
                &stored,
                width,
                from,
                PatchGrid::square(grid),
                CoordinateMapping::AlignCorners,
            )
            .into(),
            _ => stored,
        }
    }

    fn blocks<T: Real>(&self, prefix: &str, layers: usize) -> Vec<BlockParams<T>> {
        let block = |layer: usize| {
            let name = |part: &str| format!("{prefix}.resblocks.{layer}.{part}");
            BlockParams {
                ln_1: self.norm(&name("ln_1")),
                in_proj: LinearParams {
                    weight: self.value(&name("attn.in_proj_weight")),
                    bias: self.value(&name("attn.in_proj_bias")),
                },
                out_proj: self.linear(&name("attn.out_proj")),
                ln_2: self.norm(&name("ln_2")),
                c_fc: self.linear(&name("mlp.c_fc")),
                c_proj: self.linear(&name("mlp.c_proj")),
            }
        };
        (0..layers).map(block).collect()
    }

    fn norm<T: Real>(&self, prefix: &str) -> NormParams<T> {
        let LinearParams { weight, bias } = self.linear(prefix);
        NormParams { weight, bias }
    }

    fn linear<T: Real>(&self, prefix: &str) -> LinearParams<T> {
        LinearParams {
            weight: self.value(&format!("{prefix}.weight")),
            bias: self.value(&format!("{prefix}.bias")),
        }
    }

    /// Returns a tensor whose shape [`ModelWeights::new`] has validated.
    fn value<T: Real>(&self, name: &str) -> Buffer<T> {
        self.checkpoint
            .get(name)
            .map_or_else(|| Vec::new().into(), T::load)
    }
}

/// Returns whether a tensor is not a parameter, by the last part of its name.
fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// Returns a table of `count` rows of `width` values, with each of `rows` at the index of its id
/// and zeros elsewhere. Every id must be below `count`.
fn scatter_rows<T: Zero + Copy>(ids: &[u32], rows: &[T], width: usize, count: usize) -> Vec<T> {
    let mut table = vec![T::zero(); count * width];
    for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
        table[id as usize * width..][..width].copy_from_slice(row);
    }
    table
}

/// Returns the side of the square grid formed by `rows` − 1 patches.
fn square_grid(rows: usize) -> Option<usize> {
    let patches = rows.checked_sub(1).filter(|&n| n > 0)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}
