//! What a CLIP or CLIPN model is, apart from how it is computed: configs and their cost, the named
//! parameters of the towers, loading and converting weights, and the traits of a tower. The crate
//! `clipn_engine` implements the towers on the CPU.
//!
//! ```text
//!  name, config.json ──► ModelConfig ──► tensors, parameters, FLOPs
//!                             │
//!  weights (any format) ─► PretrainedWeights ─► ModelWeights ─► VisionParams, ResNetParams, TextParams
//!                             │                                       │
//!                             ▼                                       ▼
//!                     WeightsConversion                ImageTower, TextTower (another crate, or yours)
//! ```
//!
//! | module | content |
//! |---|---|
//! | config | [`ModelConfig`], its tensors ([`TensorSpec`]), [`ParameterCounts`] and operations |
//! | weights | [`ModelWeights`], [`ImageTowerWeights`], [`WeightsMetadata`], [`InferredArchitecture`] |
//! | params | [`VisionParams`], [`ResNetParams`], [`TextParams`] and their gradients |
//! | quantization | [`Precision`], [`QuantizedWeight`], balanced channels |
//! | pretrained | [`PretrainedWeights`]: OpenAI's, open_clip's and `transformers`' weights with their config |
//! | convert | [`WeightsConversion`] to safetensors, open_clip and `transformers` |
//! | tower | [`ImageTower`], [`TextTower`] and their trainable forms |
//!
//! # Example
//!
//! ```
//! use clipn_model::{ModelConfig, TextSide};
//!
//! let config = ModelConfig::embedded("ViT-B/32")?;
//! assert_eq!((config.embed_dim, config.vision.grid()), (512, 7));
//! assert_eq!(config.parameter_counts(0).clip(), 151_277_313);
//!
//! // Names and shapes are those of open_clip; the "no" tower has the suffix `_no`.
//! let text = config.text.tensors(config.embed_dim, TextSide::No);
//! assert_eq!(text[0].name, "token_embedding_no.weight");
//! assert_eq!(text[0].shape, [49_408, 512]);
//! # Ok::<(), clipn_model::ModelError>(())
//! ```
//!
//! # Features
//!
//! | feature | default | content |
//! |---|---|---|
//! | `mini` | no | Embeds the demonstration model [`PretrainedWeights::MINI`] (4.7 MB, for research only) |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod convert;
mod error;
mod params;
mod precision;
mod pretrained;
mod quantization;
mod real;
mod tower;
mod unknown_name;
mod weights;

pub use config::{
    Activation, ModelConfig, NO_PROMPTS, ParameterCounts, STAGES, TensorSpec, TextConfig, TextSide,
    VisionConfig,
};
pub use convert::{
    ConversionSummary, ConversionTarget, ConvertError, OmittedPart, WeightsConversion,
};
pub use error::{ModelError, NoConfigReason, check_length};
pub use params::{
    AttentionPoolParams, BatchNormParams, BlockParams, BottleneckParams, ConvParams,
    CoordinateMapping, LinearParams, NamedTensor, NormParams, PatchGrid, ResNetParams,
    SparseGradient, TensorGradient, TextGradient, TextParams, VisionParams, has_weight_decay,
    resize_positional_embedding,
};
pub use precision::Precision;
pub use pretrained::{BUNDLE_KEY, PretrainedKind, PretrainedWeights};
pub use quantization::QuantizedWeight;
pub use real::Real;
pub use tower::{
    DeviceSpec, FeatureMatrix, ImageBatch, ImageTower, LocalFeatures, ParseDeviceError,
    PromptSelection, TextTower, TowerFactory, TrainableImageTower, TrainableTextTower,
    add_positional_embedding_gradient, check_tokens, has_direction, normalize_backward,
    normalize_row, patch_grid, positional_embedding_for,
};
pub use unknown_name::UnknownName;
pub use weights::{
    ImageTowerWeights, InferredArchitecture, InferredImageTower, InferredTextTower, LogitScale,
    ModelWeights, NoSideOrigin, TrainingVocabulary, WeightsMetadata,
};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
