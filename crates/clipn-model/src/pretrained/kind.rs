use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::{hub, openai, training};
use clipn_checkpoint::{Checkpoint, Layout};

/// Metadata key of a safetensors file that marks it as a classifier bundle.
pub const BUNDLE_KEY: &str = "bundle";

/// What weights are, by their content and what lies beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PretrainedKind {
    /// A file of tensors under open_clip's names, CLIPN's published checkpoints among them.
    File,
    /// A safetensors file that carries its config in its metadata, as [`Conversion`](crate::Conversion) writes
    /// it.
    WithConfig,
    /// OpenAI's: a TorchScript archive, or the state dict of one, with its sizes as tensors.
    OpenAi,
    /// A folder of open_clip's hub: `open_clip_config.json` beside the weights.
    OpenClipHub,
    /// `CLIPModel` of `transformers`: `config.json` beside the weights.
    Transformers,
    /// A checkpoint of `clipn train`: `state.json` beside the weights.
    TrainingCheckpoint,
}

impl PretrainedKind {
    /// Tells by the tensors' names first, then by what lies beside the weights. Beside a single file that was named,
    /// that is what such weights never come without.
    pub(super) fn of(checkpoint: &Checkpoint, given: &Path) -> Self {
        if checkpoint.layout() == Layout::Transformers {
            Self::Transformers
        } else if hub::is_carried(checkpoint) {
            Self::WithConfig
        } else if openai::is_openai(checkpoint) {
            Self::OpenAi
        } else if given.is_dir() && given.join(hub::CONFIG).is_file() {
            Self::OpenClipHub
        } else if training::is_checkpoint(checkpoint.path()) {
            Self::TrainingCheckpoint
        } else {
            Self::File
        }
    }
}

impl fmt::Display for PretrainedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "weights alone",
            Self::WithConfig => "weights with their config",
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
