use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config_keys::Keys;
use super::{ModelError, Pretrained};
use clipn_checkpoint::begins_as_weights;

/// The embedded architectures: name and open_clip config.
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
    (
        "RN50",
        include_str!("../assets/model_configs/RN50.json"),
    ),
    (
        "RN50-quickgelu",
        include_str!("../assets/model_configs/RN50-quickgelu.json"),
    ),
    (
        "RN101",
        include_str!("../assets/model_configs/RN101.json"),
    ),
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

/// The largest size, width, depth or vocabulary that a config may name, so that a damaged file cannot ask for
/// terabytes.
pub(super) const LARGEST: usize = 1 << 24;

/// The most blocks that a tower may have, several times those of any known model.
pub(super) const MOST_LAYERS: usize = 1024;

/// The most blocks that a stage of a ResNet may have.
pub(super) const LARGEST_STAGE: usize = 1 << 10;

/// Pixels along one side that one position of a ResNet's last map stands for. Its channels are as many times the
/// stem's.
pub(super) const RESNET_STRIDE: usize = 32;

/// The two activations that CLIP models use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x·Φ(x), with Φ the normal distribution.
    Gelu,
    /// x·σ(1.702·x), of OpenAI's weights.
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

/// Sizes of an image tower: of a ViT, or of CLIP's ResNet where [`VisionConfig::stages`] says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels; of a ResNet, of what one position of its last map stands for: 32.
    pub patch_size: usize,
    /// Width of the transformer; of a ResNet, channels after the stem.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of attention heads; of a ResNet, those of its attention pooling.
    pub heads: usize,
    /// Width of a block's hidden layer; a ResNet has none: 0.
    pub mlp_width: usize,
    /// Blocks of a ResNet's four stages; `None` for a ViT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<[usize; 4]>,
}

impl VisionConfig {
    /// Patches along one side of the input; of a ResNet, positions along one side of its last map.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Channels of a ResNet's last map, which its attention pooling works on.
    pub fn pooled_width(&self) -> usize {
        self.width * RESNET_STRIDE
    }
}

/// Sizes of a text tower; the "yes" and the "no" tower share them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Positions of a text, start and end included.
    pub context_length: usize,
    /// Rows of the token table.
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

/// A CLIPN architecture, as open_clip's `model_configs/*.json` describe it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The architecture's name, or the config file's stem.
    pub name: String,
    /// Dimension D of image and text features.
    pub embed_dim: usize,
    /// The activation of every transformer block; a ResNet's own is always ReLU.
    pub activation: Activation,
    /// The image tower.
    pub vision: VisionConfig,
    /// Both text towers.
    pub text: TextConfig,
}

impl ModelConfig {
    /// Names of the embedded architectures.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// An embedded architecture, by open_clip's name (`ViT-B-16`; `ViT-B/16` is understood too).
    ///
    /// # Errors
    /// The name is not known.
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

    /// A name, a config file, or weights that come with their
    /// config ([`Pretrained`]).
    ///
    /// # Errors
    /// As [`ModelConfig::named`], [`ModelConfig::load`] and [`Pretrained::config_or`].
    pub fn resolve(name_or_path: &str) -> Result<Self, ModelError> {
        let path = Path::new(name_or_path);
        let is_json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        match Self::named(name_or_path) {
            Err(_) if path.is_dir() || begins_as_weights(path) || Pretrained::is_mini(path) => {
                Pretrained::open(path)?.config_or(None)
            }
            _ if is_json || path.is_file() => Self::load(path),
            named => named,
        }
    }

    /// A config file in open_clip's form: the object itself, or `open_clip_config.json` with it under `model_cfg`.
    ///
    /// # Errors
    /// The file cannot be read, is not such a config, or asks for a computation that clipn does not have.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::ReadConfig {
            path: path.to_owned(),
            source,
        };
        let mut json = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(LARGEST_FILE)
            .read_to_string(&mut json)
            .map_err(unreadable)?;
        let name = path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Self::from_json(&name, &path.display().to_string(), &json)
    }

    /// The same from text. `origin` names it in errors.
    ///
    /// # Errors
    /// As [`ModelConfig::load`].
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

    /// The same under the name of the embedded architecture that it is, where it is one.
    pub(super) fn known_by_name(mut self) -> Self {
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

/// The largest config file that is read, in bytes.
const LARGEST_FILE: u64 = 4 << 20;

fn vision(keys: &Keys<'_>) -> Result<VisionConfig, ModelError> {
    if let Some(Value::Array(stages)) = keys.object.get("layers") {
        return resnet(keys, stages);
    }
    if let Some(name) = keys.object.get("timm_model_name").filter(|v| !v.is_null()) {
        return Err(keys.unsupported(&format!("the timm image tower {name}")));
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
            "vision_cfg.width {width} and head_width {head_width} do not give a whole number of equal heads"
        )));
    }
    if config.patch_size > config.image_size {
        return Err(keys.bad(format!(
            "vision_cfg.patch_size {} is larger than image_size {}",
            config.patch_size, config.image_size
        )));
    }
    Ok(config)
}

/// CLIP's ResNet, as open_clip reads it: `patch_size` and `mlp_ratio` mean nothing there.
fn resnet(keys: &Keys<'_>, stages: &[Value]) -> Result<VisionConfig, ModelError> {
    keys.only_vision()?;
    let blocks: Vec<usize> = stages
        .iter()
        .filter_map(|stage| {
            stage
                .as_u64()
                .and_then(|blocks| usize::try_from(blocks).ok())
        })
        .filter(|blocks| (1..=LARGEST_STAGE).contains(blocks))
        .collect();
    let stages: [usize; 4] = match blocks.try_into() {
        Ok(blocks) if stages.len() == 4 => blocks,
        _ => {
            return Err(keys.bad(format!(
                "`{}` must be a number, or for a ResNet the blocks of its four stages, each from 1 to {LARGEST_STAGE}",
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
            "vision_cfg.width {width} and head_width {head_width} do not give a ResNet a whole number of equal heads"
        )));
    }
    if config.image_size < RESNET_STRIDE {
        return Err(keys.bad(format!(
            "vision_cfg.image_size {} is smaller than the {RESNET_STRIDE} pixels that a ResNet needs",
            config.image_size
        )));
    }
    Ok(config)
}

fn text(keys: &Keys<'_>) -> Result<TextConfig, ModelError> {
    if let Some(name) = keys.object.get("hf_model_name").filter(|v| !v.is_null()) {
        return Err(keys.unsupported(&format!("the Hugging Face text tower {name}")));
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
    fn resnets_have_the_published_sizes() {
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
    fn resnet_sizes_that_make_no_tower_are_named() {
        let refused = |vision: &str| {
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
                refused(&format!(r#""layers":{layers}"#)).contains("vision_cfg.layers"),
                "{layers}"
            );
        }
        assert!(refused(r#""layers":[1,1,1,1],"image_size":31"#).contains("image_size 31"));
        assert!(refused(r#""layers":[1,1,1,1],"width":1"#).contains("width 1"));
        assert!(
            refused(r#""layers":[1,1,1,1],"width":6,"head_width":500"#).contains("head_width 500")
        );
        assert!(refused(r#""layers":[1,1,1,1],"width":7,"head_width":72"#).contains("equal heads"));
    }

    #[test]
    fn the_papers_spelling_of_a_name_is_understood() {
        assert_eq!(ModelConfig::named("ViT-B/16").unwrap().name, "ViT-B-16");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = ModelConfig::named("ViT-X").unwrap_err().to_string();
        assert!(
            error.contains("ViT-X") && error.contains("ViT-B-32"),
            "{error}"
        );
    }

    #[test]
    fn keys_that_change_the_computation_are_refused_by_name() {
        let refused = |vision: &str, text: &str| {
            parse(&format!(
                r#"{{"embed_dim":8,"vision_cfg":{{{vision}}},"text_cfg":{{{text}}}}}"#
            ))
            .unwrap_err()
            .to_string()
        };
        assert!(
            refused(r#""layers":[2,2,2,2],"pool_type":"avg""#, "").contains("vision_cfg.pool_type")
        );
        assert!(refused(r#""timm_model_name":"convnext""#, "").contains("convnext"));
        assert!(refused(r#""pool_type":"avg""#, "").contains("vision_cfg.pool_type"));
        assert!(refused("", r#""hf_model_name":"xlm""#).contains("xlm"));
        assert!(refused("", r#""pad_id":1"#).contains("text_cfg.pad_id"));
    }

    #[test]
    fn bad_sizes_are_named() {
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
    fn a_hub_config_is_read_under_model_cfg() {
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
