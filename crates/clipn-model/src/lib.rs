//! The model, apart from how it is computed: its config and cost, the named parameters of its
//! towers, loading and converting weights, and the traits of a tower. The implementations of the
//! towers are in [`clipn_engine`].
//!
//! ```
//! use clipn_model::ModelConfig;
//!
//! let config = ModelConfig::named("ViT-B/32")?;
//! assert_eq!((config.embed_dim, config.vision.grid()), (512, 7));
//! assert_eq!(config.parameters(0).clip(), 151_277_313);
//! # Ok::<(), clipn_model::ModelError>(())
//! ```

mod config;
mod config_check;
mod config_json;
mod config_keys;
mod convert;
mod cost;
mod error;
mod gradient;
mod image_weights;
pub mod names;
mod notes;
mod params;
mod position;
mod pretrained;
mod real;
mod resnet;
mod seen_words;
mod sketch;
mod tower;
mod weights;

pub use config::{Activation, ModelConfig, TextConfig, VisionConfig};
pub use convert::{Conversion, ConvertError, Converted, OmittedPart, Target};
pub use cost::Parameters;
pub use error::ModelError;
pub use gradient::{SparseGradient, TensorGradient, TextGradient};
pub use image_weights::ImageWeights;
pub use names::Side;
pub use notes::{LogitScale, WeightsMetadata};
pub use params::{BlockParams, LinearParams, NamedTensor, NormParams, TextParams, VisionParams};
pub use position::{CoordinateMapping, resize_positions};
pub use pretrained::{BUNDLE_KEY, Pretrained, PretrainedKind};
pub use real::Real;
pub use resnet::{
    AttentionPoolParams, BatchNormParams, BottleneckParams, ConvParams, ResNetParams, STAGES,
};
pub use seen_words::SeenWords;
pub use sketch::{InferredArchitecture, InferredImageTower, InferredTextTower};
pub use tower::check_length;
pub use tower::{
    Features, ImageTower, Images, NoPrompt, TextTower, TrainableImageTower, TrainableTextTower,
    normalize_backward, normalize_row,
};
pub use weights::{NoSide, Weights};
