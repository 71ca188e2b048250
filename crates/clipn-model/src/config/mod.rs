//! Configs: the sizes of an architecture, and what follows from them.
//!
//! | module | content |
//! |---|---|
//! | `embedded` | open_clip's architectures by name |
//! | `open_clip` | the JSON format of open_clip's `model_configs`, in both directions |
//! | `keys`, `object` | the keys of that format; values with their path, for error messages |
//! | `validate` | bounds and consistency of configs from other sources |
//! | `tensors` | names and shapes of the tensors of an architecture |
//! | `cost` | number of parameters and floating-point operations |

mod cost;
mod embedded;
mod keys;
mod object;
mod open_clip;
mod tensors;
mod validate;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clipn_base::content::ContentKind;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

pub use cost::ParameterCounts;
pub(crate) use object::ConfigObject;
pub(crate) use open_clip::mlp_ratio;
pub use tensors::{NO_PROMPTS, TensorSpec, TextSide};
pub(crate) use tensors::{RESNET_POSITIONAL_EMBEDDING, VIT_POSITIONAL_EMBEDDING, is_no_side};

/// Number of stages of a ResNet.
pub const STAGES: usize = 4;

/// Maximum size, width, depth or vocabulary in a config, so that a damaged file cannot request
/// terabytes.
pub(crate) const MAX_SIZE: usize = 1 << 24;

/// Maximum number of blocks of a tower, several times that of any known model.
pub(crate) const MAX_LAYERS: usize = 1024;

/// Maximum number of blocks in a stage of a ResNet.
pub(crate) const MAX_STAGE_BLOCKS: usize = 1 << 10;

/// Output stride of a ResNet in pixels. The last map also has this many times the stem's channels.
pub(crate) const RESNET_STRIDE: usize = 32;

/// Maximum number of bytes read from a config file.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Activation function of a CLIP model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x·Φ(x), with Φ the cumulative normal distribution.
    Gelu,
    /// x·σ(1.702·x), as in OpenAI's weights.
    QuickGelu,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Gelu => "GELU",
            Activation::QuickGelu => "QuickGELU",
        })
    }
}

/// Sizes of an image tower: a ResNet if [`VisionConfig::stages`] is set, otherwise a ViT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels; for a ResNet its output stride, 32.
    pub patch_size: usize,
    /// Width of the transformer; for a ResNet the number of channels after the stem.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of attention heads; for a ResNet those of its attention pooling.
    pub heads: usize,
    /// Width of a block's hidden layer; 0 for a ResNet, which has none.
    pub mlp_width: usize,
    /// Number of blocks in each of a ResNet's four stages; `None` for a ViT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<[usize; STAGES]>,
}

impl VisionConfig {
    /// Returns the number of patches along one side of the input; for a ResNet, of positions along
    /// one side of its last map.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Returns the number of values of a patch, 3·patch².
    pub fn patch_len(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// Returns the number of channels of a ResNet's last map, the input of its attention pooling.
    pub fn pooled_width(&self) -> usize {
        self.width * RESNET_STRIDE
    }
}

/// Sizes of a text tower, shared by the "yes" and the "no" tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Maximum number of tokens in a text, start and end included.
    pub context_length: usize,
    /// Number of rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the transformer.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of a block's hidden layer.
    pub mlp_width: usize,
}

/// A CLIPN architecture, as described by open_clip's `model_configs/*.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Name of the architecture, or the stem of the config file.
    pub name: String,
    /// Dimension `D` of image and text features.
    pub embed_dim: usize,
    /// Activation of every transformer block; a ResNet itself always uses ReLU.
    pub activation: Activation,
    /// Sizes of the image tower.
    pub vision: VisionConfig,
    /// Sizes of both text towers.
    pub text: TextConfig,
}

impl ModelConfig {
    /// Reads a config file in open_clip's format: the config itself, or an `open_clip_config.json`
    /// with the config under `model_cfg`.
    ///
    /// # Errors
    /// [`ModelError::ReadConfig`] if the file cannot be read, [`ModelError::BadConfig`] if it is
    /// not a valid config, [`ModelError::UnsupportedConfig`] if it requires a computation that
    /// clipn does not implement.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let unreadable = |source| ModelError::ReadConfig {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_CONFIG_BYTES)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let expected = [ContentKind::Json, ContentKind::Text, ContentKind::Empty];
        if let Some(kind) = ContentKind::other_than(&bytes, &expected) {
            return Err(ModelError::BadConfig {
                origin: path.display().to_string(),
                reason: format!("expected JSON, got {kind}"),
            });
        }
        let json = String::from_utf8(bytes)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let name = path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Self::from_json(&name, &path.display().to_string(), &json)
    }
}
