use std::fmt;
use std::path::Path;

use clipn_checkpoint::{Checkpoint, Layout};
use serde::{Serialize, Serializer};

use crate::pretrained::{hub, openai, training};

/// Metadata key of a safetensors file that marks it as a classifier bundle.
pub const BUNDLE_KEY: &str = "bundle";

/// Format of pretrained weights, detected from their content and the files beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PretrainedKind {
    /// A file of tensors under open_clip's names, such as CLIPN's published checkpoints.
    TensorsOnly,
    /// A safetensors file with its config in the metadata, as written by
    /// [`WeightsConversion`](crate::WeightsConversion).
    EmbeddedConfig,
    /// OpenAI's weights: a TorchScript archive or its state dict, with the sizes stored as tensors.
    OpenAi,
    /// An open_clip hub directory: `open_clip_config.json` beside the weights.
    OpenClipHub,
    /// A `CLIPModel` of `transformers`: `config.json` beside the weights.
    Transformers,
    /// A training checkpoint of this project: `state.json` beside the weights.
    TrainingCheckpoint,
}

impl PretrainedKind {
    /// Detects the format from the tensors' names first, then from the files beside the weights. If
    /// a single file was opened, only files that always accompany such weights count.
    pub(super) fn detect(checkpoint: &Checkpoint, source_path: &Path) -> Self {
        if checkpoint.layout() == Layout::Transformers {
            Self::Transformers
        } else if hub::has_embedded_config(checkpoint) {
            Self::EmbeddedConfig
        } else if openai::is_openai(checkpoint) {
            Self::OpenAi
        } else if hub::has_config_beside(checkpoint.path(), source_path) {
            Self::OpenClipHub
        } else if training::is_training_checkpoint(checkpoint.path()) {
            Self::TrainingCheckpoint
        } else {
            Self::TensorsOnly
        }
    }
}

impl fmt::Display for PretrainedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TensorsOnly => "weights alone",
            Self::EmbeddedConfig => "weights with their config",
            Self::OpenAi => "OpenAI's CLIP",
            Self::OpenClipHub => "open_clip hub",
            Self::Transformers => "transformers CLIPModel",
            Self::TrainingCheckpoint => "training checkpoint",
        })
    }
}

impl Serialize for PretrainedKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
