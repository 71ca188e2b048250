use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config_keys::Keys;
use super::{ModelError, Pretrained};
use clipn_checkpoint::has_weights_signature;

/// Embedded architectures: name and open_clip config.
const EMBEDDED: &[(&str, &str)] = &[
    (
        "ViT-S-32",
        include_str!("../assets/model_configs/ViT-S-32.json"),
    ),
    (
        "ViT-S-32-alt",
        include_str!("../assets/model_configs/ViT-S-32-alt.json"),
    ),
    (
        "ViT-S-16",
        include_str!("../assets/model_configs/ViT-S-16.json"),
    ),
    (
        "ViT-S-16-alt",
        include_str!("../assets/model_configs/ViT-S-16-alt.json"),
    ),
    (
        "ViT-M-32",
        include_str!("../assets/model_configs/ViT-M-32.json"),
    ),
    (
        "ViT-M-32-alt",
        include_str!("../assets/model_configs/ViT-M-32-alt.json"),
    ),
    (
        "ViT-M-16",
        include_str!("../assets/model_configs/ViT-M-16.json"),
    ),
    (
        "ViT-B-32",
        include_str!("../assets/model_configs/ViT-B-32.json"),
    ),
    (
        "ViT-B-32-quickgelu",
        include_str!("../assets/model_configs/ViT-B-32-quickgelu.json"),
    ),
    (
        "ViT-B-32-256",
        include_str!("../assets/model_configs/ViT-B-32-256.json"),
    ),
    (
        "ViT-B-32-plus-256",
        include_str!("../assets/model_configs/ViT-B-32-plus-256.json"),
    ),
    (
        "ViT-B-16",
        include_str!("../assets/model_configs/ViT-B-16.json"),
    ),
    (
        "ViT-B-16-quickgelu",
        include_str!("../assets/model_configs/ViT-B-16-quickgelu.json"),
    ),
    (
        "ViT-B-16-plus",
        include_str!("../assets/model_configs/ViT-B-16-plus.json"),
    ),
    (
        "ViT-B-16-plus-240",
        include_str!("../assets/model_configs/ViT-B-16-plus-240.json"),
    ),
    (
        "ViT-L-14",
        include_str!("../assets/model_configs/ViT-L-14.json"),
    ),
    (
        "ViT-L-14-quickgelu",
        include_str!("../assets/model_configs/ViT-L-14-quickgelu.json"),
    ),
    (
        "ViT-L-14-280",
        include_str!("../assets/model_configs/ViT-L-14-280.json"),
    ),
    (
        "ViT-L-14-336",
        include_str!("../assets/model_configs/ViT-L-14-336.json"),
    ),
    (
        "ViT-L-14-336-quickgelu",
        include_str!("../assets/model_configs/ViT-L-14-336-quickgelu.json"),
    ),
    (
        "ViT-L-16",
        include_str!("../assets/model_configs/ViT-L-16.json"),
    ),
    (
        "ViT-L-16-320",
        include_str!("../assets/model_configs/ViT-L-16-320.json"),
    ),
    (
        "ViT-L-16-384",
        include_str!("../assets/model_configs/ViT-L-16-384.json"),
    ),
    (
        "ViT-H-14",
        include_str!("../assets/model_configs/ViT-H-14.json"),
    ),
    (
        "ViT-H-14-quickgelu",
        include_str!("../assets/model_configs/ViT-H-14-quickgelu.json"),
    ),
    (
        "ViT-H-14-378",
        include_str!("../assets/model_configs/ViT-H-14-378.json"),
    ),
    (
        "ViT-H-14-378-quickgelu",
        include_str!("../assets/model_configs/ViT-H-14-378-quickgelu.json"),
    ),
    (
        "ViT-H-16",
        include_str!("../assets/model_configs/ViT-H-16.json"),
    ),
    (
        "ViT-g-14",
        include_str!("../assets/model_configs/ViT-g-14.json"),
    ),
    (
        "ViT-bigG-14",
        include_str!("../assets/model_configs/ViT-bigG-14.json"),
    ),
    (
        "ViT-bigG-14-quickgelu",
        include_str!("../assets/model_configs/ViT-bigG-14-quickgelu.json"),
    ),
    (
        "ViT-e-14",
        include_str!("../assets/model_configs/ViT-e-14.json"),
    ),
    ("RN50", include_str!("../assets/model_configs/RN50.json")),
    (
        "RN50-quickgelu",
        include_str!("../assets/model_configs/RN50-quickgelu.json"),
    ),
    ("RN101", include_str!("../assets/model_configs/RN101.json")),
    (
        "RN101-quickgelu",
        include_str!("../assets/model_configs/RN101-quickgelu.json"),
    ),
    (
        "RN50x4",
        include_str!("../assets/model_configs/RN50x4.json"),
    ),
    (
        "RN50x4-quickgelu",
        include_str!("../assets/model_configs/RN50x4-quickgelu.json"),
    ),
    (
        "RN50x16",
        include_str!("../assets/model_configs/RN50x16.json"),
    ),
    (
        "RN50x16-quickgelu",
        include_str!("../assets/model_configs/RN50x16-quickgelu.json"),
    ),
    (
        "RN50x64",
        include_str!("../assets/model_configs/RN50x64.json"),
    ),
    (
        "RN50x64-quickgelu",
        include_str!("../assets/model_configs/RN50x64-quickgelu.json"),
    ),
];

/// Maximum size, width, depth or vocabulary in a config, so that a damaged file cannot request
/// terabytes.
pub(super) const LARGEST: usize = 1 << 24;

/// Maximum number of blocks of a tower, several times that of any known model.
pub(super) const MAX_LAYERS: usize = 1024;

/// Maximum number of blocks in a stage of a ResNet.
pub(super) const MAX_STAGE_BLOCKS: usize = 1 << 10;

/// Output stride of a ResNet in pixels. The last map also has this many times the stem's channels.
pub(super) const RESNET_STRIDE: usize = 32;

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
    pub stages: Option<[usize; 4]>,
}

impl VisionConfig {
    /// Returns the number of patches along one side of the input; for a ResNet, of positions along
    /// one side of its last map.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
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
    /// Returns the names of the embedded architectures.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// Returns an embedded architecture by open_clip's name; `ViT-B-16` and `ViT-B/16` are both
    /// accepted.
    ///
    /// # Errors
    /// [`ModelError::UnknownModel`] if no embedded architecture has this name.
    pub fn named(name: &str) -> Result<Self, ModelError> {
        let wanted = name.replace('/', "-");
        match EMBEDDED
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&wanted))
        {
            Some((known, json)) => Self::from_json(known, known, json),
            None => Err(ModelError::UnknownModel {
                name: name.to_owned(),
                known: Self::names().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Resolves the name of an architecture, a config file, or weights with a config
    /// ([`Pretrained`]).
    ///
    /// # Errors
    /// Same as [`ModelConfig::named`], [`ModelConfig::load`] and [`Pretrained::config_or`].
    pub fn resolve(name_or_path: &str) -> Result<Self, ModelError> {
        let path = Path::new(name_or_path);
        let is_json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        match Self::named(name_or_path) {
            Err(_)
                if path.is_dir()
                    || has_weights_signature(path)
                    || Pretrained::is_builtin_name(path) =>
            {
                Pretrained::open(path)?.config_or(None)
            }
            _ if is_json || path.is_file() => Self::load(path),
            named => named,
        }
    }

    /// Reads a config file in open_clip's format: the config itself, or an `open_clip_config.json`
    /// with the config under `model_cfg`.
    ///
    /// # Errors
    /// [`ModelError::ReadConfig`] if the file cannot be read, [`ModelError::BadConfig`] if it is
    /// not a valid config, [`ModelError::UnsupportedConfig`] if it requires a computation that
    /// clipn does not implement.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::ReadConfig {
            path: path.to_owned(),
            source,
        };
        let mut json = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_CONFIG_BYTES)
            .read_to_string(&mut json)
            .map_err(unreadable)?;
        let name = path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Self::from_json(&name, &path.display().to_string(), &json)
    }

    /// Parses a config in open_clip's format. `origin` names it in errors.
    ///
    /// # Errors
    /// Same as [`ModelConfig::load`], except for reading the file.
    pub fn from_json(name: &str, origin: &str, json: &str) -> Result<Self, ModelError> {
        let value: Value = serde_json::from_str(json).map_err(|e| ModelError::BadConfig {
            origin: origin.to_owned(),
            reason: format!("not valid JSON: {e}"),
        })?;
        Self::from_value(name, origin, &value)
    }

    pub(super) fn from_value(name: &str, origin: &str, value: &Value) -> Result<Self, ModelError> {
        let root = value.get("model_cfg").unwrap_or(value);
        let keys = Keys {
            origin,
            prefix: "",
            object: root,
        };
        keys.only_top()?;
        let config = Self {
            name: name.to_owned(),
            embed_dim: keys.size("embed_dim", None)?,
            activation: if keys.flag("quick_gelu")? {
                Activation::QuickGelu
            } else {
                Activation::Gelu
            },
            vision: vision(&keys.section("vision_cfg")?)?,
            text: text(&keys.section("text_cfg")?)?,
        };
        Ok(config)
    }

    /// Renames the config to the embedded architecture that equals it, if there is one.
    pub(super) fn with_embedded_name(mut self) -> Self {
        let same = |name: &&str| {
            Self::named(name).is_ok_and(|known| {
                Self {
                    name: self.name.clone(),
                    ..known
                } == self
            })
        };
        if let Some(name) = Self::names().find(same) {
            name.clone_into(&mut self.name);
        }
        self
    }
}

/// Maximum number of bytes read from a config file.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

fn vision(keys: &Keys<'_>) -> Result<VisionConfig, ModelError> {
    if let Some(Value::Array(stages)) = keys.object.get("layers") {
        return resnet(keys, stages);
    }
    if let Some(name) = keys.object.get("timm_model_name").filter(|v| !v.is_null()) {
        return Err(keys.unsupported(&format!("timm image tower {name}")));
    }
    keys.only_vision()?;
    let width = keys.size("width", Some(768))?;
    let head_width = keys.size("head_width", Some(64))?;
    let config = VisionConfig {
        image_size: keys.side("image_size", 224)?,
        patch_size: keys.side("patch_size", 16)?,
        width,
        layers: keys.layers()?,
        heads: width / head_width,
        mlp_width: keys.mlp_width(width)?,
        stages: None,
    };
    if config.heads == 0 || width % config.heads != 0 {
        return Err(keys.bad(format!(
            "vision_cfg.width {width} cannot be split into equal heads \
                 of head_width {head_width}"
        )));
    }
    if config.patch_size > config.image_size {
        return Err(keys.bad(format!(
            "vision_cfg.patch_size {} exceeds image_size {}",
            config.patch_size, config.image_size
        )));
    }
    Ok(config)
}

/// CLIP's ResNet as open_clip reads it, without `patch_size` and `mlp_ratio`.
fn resnet(keys: &Keys<'_>, stages: &[Value]) -> Result<VisionConfig, ModelError> {
    keys.only_vision()?;
    let blocks: Vec<usize> = stages
        .iter()
        .filter_map(|stage| {
            stage
                .as_u64()
                .and_then(|blocks| usize::try_from(blocks).ok())
        })
        .filter(|blocks| (1..=MAX_STAGE_BLOCKS).contains(blocks))
        .collect();
    let stages: [usize; 4] = match blocks.try_into() {
        Ok(blocks) if stages.len() == 4 => blocks,
        _ => {
            return Err(keys.bad(format!(
                "expected `{}` to be a number or four block counts from 1 to {MAX_STAGE_BLOCKS}",
                keys.path("layers")
            )));
        }
    };
    let width = keys.size("width", Some(64))?;
    let head_width = keys.size("head_width", Some(64))?;
    let config = VisionConfig {
        image_size: keys.side("image_size", 224)?,
        patch_size: RESNET_STRIDE,
        width,
        layers: stages.iter().sum(),
        heads: width * RESNET_STRIDE / head_width,
        mlp_width: 0,
        stages: Some(stages),
    };
    if width < 2 || config.heads == 0 || !config.pooled_width().is_multiple_of(config.heads) {
        return Err(keys.bad(format!(
            "{RESNET_STRIDE} times vision_cfg.width {width} cannot be split into equal heads \
                 of head_width {head_width}"
        )));
    }
    if config.image_size < RESNET_STRIDE {
        return Err(keys.bad(format!(
            "expected vision_cfg.image_size of at least {RESNET_STRIDE} for a ResNet, got {}",
            config.image_size
        )));
    }
    Ok(config)
}

fn text(keys: &Keys<'_>) -> Result<TextConfig, ModelError> {
    if let Some(name) = keys.object.get("hf_model_name").filter(|v| !v.is_null()) {
        return Err(keys.unsupported(&format!("Hugging Face text tower {name}")));
    }
    let vocab_size = keys.size("vocab_size", Some(49408))?;
    keys.only_text(vocab_size)?;
    let width = keys.size("width", Some(512))?;
    let heads = keys.size("heads", Some(8))?;
    if width % heads != 0 {
        return Err(keys.bad(format!(
            "text_cfg.width {width} is not a multiple of text_cfg.heads {heads}"
        )));
    }
    Ok(TextConfig {
        context_length: keys.size("context_length", Some(77))?,
        vocab_size,
        width,
        layers: keys.layers()?,
        heads,
        mlp_width: keys.mlp_width(width)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ModelConfig, ModelError> {
        ModelConfig::from_json("test", "test.json", json)
    }

    #[test]
    fn every_embedded_architecture_parses() {
        for name in ModelConfig::names() {
            let config = ModelConfig::named(name).unwrap();
            assert_eq!(
                config.activation == Activation::QuickGelu,
                name.ends_with("quickgelu"),
                "{name}"
            );
            let v = &config.vision;
            let width = if v.stages.is_some() {
                v.pooled_width()
            } else {
                v.width
            };
            assert_eq!(width % v.heads, 0, "{name}");
            assert_eq!(v.stages.is_some(), name.starts_with("RN"), "{name}");
        }
        let giant = ModelConfig::named("ViT-g-14").unwrap();
        assert_eq!((giant.vision.heads, giant.vision.mlp_width), (16, 6144));
    }

    #[test]
    fn resnet_configs_have_the_published_sizes() {
        let sizes = |name| {
            let ModelConfig {
                embed_dim,
                vision: v,
                ..
            } = ModelConfig::named(name).unwrap();
            (
                v.stages.unwrap(),
                v.width,
                v.heads,
                v.grid(),
                v.pooled_width(),
                embed_dim,
            )
        };
        assert_eq!(sizes("RN50"), ([3, 4, 6, 3], 64, 32, 7, 2048, 1024));
        assert_eq!(
            sizes("RN50x4-quickgelu"),
            ([4, 6, 10, 6], 80, 40, 9, 2560, 640)
        );
        assert_eq!(sizes("RN50x64"), ([3, 15, 36, 10], 128, 64, 14, 4096, 1024));
    }

    #[test]
    fn errors_name_the_invalid_resnet_size() {
        let error = |vision: &str| {
            parse(&format!(
                r#"{{"embed_dim":8,"vision_cfg":{{{vision}}},"text_cfg":{{}}}}"#
            ))
            .unwrap_err()
            .to_string()
        };
        for layers in [
            "[]",
            "[1,1,1]",
            "[1,1,1,1,1]",
            "[1,0,1,1]",
            "[1,1,1,-1]",
            "[1,1,1,\"1\"]",
            "[1,1,1,2000]",
        ] {
            assert!(
                error(&format!(r#""layers":{layers}"#)).contains("vision_cfg.layers"),
                "{layers}"
            );
        }
        assert!(error(r#""layers":[1,1,1,1],"image_size":31"#).contains("got 31"));
        assert!(error(r#""layers":[1,1,1,1],"width":1"#).contains("width 1"));
        assert!(
            error(r#""layers":[1,1,1,1],"width":6,"head_width":500"#).contains("head_width 500")
        );
        assert!(error(r#""layers":[1,1,1,1],"width":7,"head_width":72"#).contains("equal heads"));
    }

    #[test]
    fn accepts_a_slash_in_a_name() {
        assert_eq!(ModelConfig::named("ViT-B/16").unwrap().name, "ViT-B-16");
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_ones() {
        let error = ModelConfig::named("ViT-X").unwrap_err().to_string();
        assert!(
            error.contains("ViT-X") && error.contains("ViT-B-32"),
            "{error}"
        );
    }

    #[test]
    fn rejects_keys_that_change_the_computation() {
        let error = |vision: &str, text: &str| {
            parse(&format!(
                r#"{{"embed_dim":8,"vision_cfg":{{{vision}}},"text_cfg":{{{text}}}}}"#
            ))
            .unwrap_err()
            .to_string()
        };
        assert!(
            error(r#""layers":[2,2,2,2],"pool_type":"avg""#, "").contains("vision_cfg.pool_type")
        );
        assert!(error(r#""timm_model_name":"convnext""#, "").contains("convnext"));
        assert!(error(r#""pool_type":"avg""#, "").contains("vision_cfg.pool_type"));
        assert!(error("", r#""hf_model_name":"xlm""#).contains("xlm"));
        assert!(error("", r#""pad_id":1"#).contains("text_cfg.pad_id"));
    }

    #[test]
    fn errors_name_the_invalid_size() {
        let error = parse(r#"{"embed_dim":0,"vision_cfg":{},"text_cfg":{}}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("embed_dim"), "{error}");
        let error = parse(
            r#"{"embed_dim":8,"vision_cfg":{"width":100,"head_width":64},"text_cfg":{"width":10,"heads":3}}"#,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("text_cfg.width 10"), "{error}");
        assert!(parse("[1]").is_err() && parse("{").is_err() && parse("{}").is_err());
    }

    #[test]
    fn reads_a_hub_config_under_model_cfg() {
        let config = parse(
            r#"{"model_cfg":{"embed_dim":8,"quick_gelu":true,"vision_cfg":{},"text_cfg":{}}}"#,
        )
        .unwrap();
        assert_eq!(
            (config.embed_dim, config.activation),
            (8, Activation::QuickGelu)
        );
    }
}
