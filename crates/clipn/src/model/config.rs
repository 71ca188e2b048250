use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ModelError;

/// The embedded architectures: name and open_clip config.
const EMBEDDED: &[(&str, &str)] = &[
    ("ViT-B-32", include_str!("../../../../assets/model_configs/ViT-B-32.json")),
    ("ViT-B-32-quickgelu", include_str!("../../../../assets/model_configs/ViT-B-32-quickgelu.json")),
    ("ViT-B-32-plus-256", include_str!("../../../../assets/model_configs/ViT-B-32-plus-256.json")),
    ("ViT-B-16", include_str!("../../../../assets/model_configs/ViT-B-16.json")),
    ("ViT-B-16-quickgelu", include_str!("../../../../assets/model_configs/ViT-B-16-quickgelu.json")),
    ("ViT-B-16-plus", include_str!("../../../../assets/model_configs/ViT-B-16-plus.json")),
    ("ViT-B-16-plus-240", include_str!("../../../../assets/model_configs/ViT-B-16-plus-240.json")),
    ("ViT-L-14", include_str!("../../../../assets/model_configs/ViT-L-14.json")),
    ("ViT-L-14-quickgelu", include_str!("../../../../assets/model_configs/ViT-L-14-quickgelu.json")),
    ("ViT-L-14-280", include_str!("../../../../assets/model_configs/ViT-L-14-280.json")),
    ("ViT-L-14-336", include_str!("../../../../assets/model_configs/ViT-L-14-336.json")),
    ("ViT-L-14-336-quickgelu", include_str!("../../../../assets/model_configs/ViT-L-14-336-quickgelu.json")),
    ("ViT-L-16", include_str!("../../../../assets/model_configs/ViT-L-16.json")),
    ("ViT-L-16-320", include_str!("../../../../assets/model_configs/ViT-L-16-320.json")),
    ("ViT-H-14", include_str!("../../../../assets/model_configs/ViT-H-14.json")),
    ("ViT-H-14-quickgelu", include_str!("../../../../assets/model_configs/ViT-H-14-quickgelu.json")),
    ("ViT-H-16", include_str!("../../../../assets/model_configs/ViT-H-16.json")),
    ("ViT-g-14", include_str!("../../../../assets/model_configs/ViT-g-14.json")),
];

/// The largest size, width, depth or vocabulary that a config may name, so that a damaged file cannot ask for
/// terabytes.
const LARGEST: usize = 1 << 24;

/// The two activations that CLIP models use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x·Φ(x), with Φ the normal distribution.
    Gelu,
    /// x·σ(1.702·x), of OpenAI's weights.
    QuickGelu,
}

/// Sizes of a ViT image tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels.
    pub patch_size: usize,
    /// Width of the transformer.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of a block's hidden layer.
    pub mlp_width: usize,
}

impl VisionConfig {
    /// Patches along one side of the input.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
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
    /// The activation of every block.
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
        match EMBEDDED.iter().find(|(known, _)| known.eq_ignore_ascii_case(&wanted)) {
            Some((known, json)) => Self::from_json(known, known, json),
            None => Err(ModelError::UnknownModel {
                name: name.to_owned(),
                known: Self::names().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// A name or, where the text ends in `.json` or names a file, a config file.
    ///
    /// # Errors
    /// As [`ModelConfig::named`] and [`ModelConfig::load`].
    pub fn resolve(name_or_path: &str) -> Result<Self, ModelError> {
        let path = Path::new(name_or_path);
        let is_json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if is_json || path.is_file() { Self::load(path) } else { Self::named(name_or_path) }
    }

    /// A config file in open_clip's form: the object itself, or `open_clip_config.json` with it under `model_cfg`.
    ///
    /// # Errors
    /// The file cannot be read, is not such a config, or asks for a computation that clipn does not have.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let json = std::fs::read_to_string(path)
            .map_err(|source| ModelError::ReadConfig { path: path.to_owned(), source })?;
        let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Self::from_json(&name, &path.display().to_string(), &json)
    }

    fn from_json(name: &str, origin: &str, json: &str) -> Result<Self, ModelError> {
        let bad = |reason: String| ModelError::BadConfig { origin: origin.to_owned(), reason };
        let value: Value = serde_json::from_str(json).map_err(|e| bad(format!("not valid JSON: {e}")))?;
        let root = value.get("model_cfg").unwrap_or(&value);
        let keys = Keys { origin, prefix: "", object: root };
        keys.only(&["embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "cast_dtype"])?;
        let config = Self {
            name: name.to_owned(),
            embed_dim: keys.size("embed_dim", None)?,
            activation: if keys.flag("quick_gelu")? { Activation::QuickGelu } else { Activation::Gelu },
            vision: vision(&keys.section("vision_cfg")?)?,
            text: text(&keys.section("text_cfg")?)?,
        };
        Ok(config)
    }
}

fn vision(keys: &Keys<'_>) -> Result<VisionConfig, ModelError> {
    if let Some(Value::Array(_)) = keys.object.get("layers") {
        return Err(keys.unsupported("a ModifiedResNet image tower (`layers` is a list)"));
    }
    if let Some(name) = keys.object.get("timm_model_name").filter(|v| !v.is_null()) {
        return Err(keys.unsupported(&format!("the timm image tower {name}")));
    }
    keys.only(&["image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"])?;
    let width = keys.size("width", Some(768))?;
    let head_width = keys.size("head_width", Some(64))?;
    let config = VisionConfig {
        image_size: keys.size("image_size", Some(224))?,
        patch_size: keys.size("patch_size", Some(16))?,
        width,
        layers: keys.size("layers", Some(12))?,
        heads: width / head_width,
        mlp_width: keys.mlp_width(width)?,
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

fn text(keys: &Keys<'_>) -> Result<TextConfig, ModelError> {
    if let Some(name) = keys.object.get("hf_model_name").filter(|v| !v.is_null()) {
        return Err(keys.unsupported(&format!("the Hugging Face text tower {name}")));
    }
    keys.only(&["context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"])?;
    let width = keys.size("width", Some(512))?;
    let heads = keys.size("heads", Some(8))?;
    if width % heads != 0 {
        return Err(keys.bad(format!("text_cfg.width {width} is not a multiple of text_cfg.heads {heads}")));
    }
    Ok(TextConfig {
        context_length: keys.size("context_length", Some(77))?,
        vocab_size: keys.size("vocab_size", Some(49408))?,
        width,
        layers: keys.size("layers", Some(12))?,
        heads,
        mlp_width: keys.mlp_width(width)?,
    })
}

/// One object of the config, with what errors need to name a key.
struct Keys<'a> {
    origin: &'a str,
    prefix: &'a str,
    object: &'a Value,
}

impl Keys<'_> {
    fn bad(&self, reason: String) -> ModelError {
        ModelError::BadConfig { origin: self.origin.to_owned(), reason }
    }

    fn unsupported(&self, what: &str) -> ModelError {
        ModelError::UnsupportedConfig { origin: self.origin.to_owned(), what: what.to_owned() }
    }

    fn section<'b>(&'b self, key: &'b str) -> Result<Keys<'b>, ModelError> {
        match self.object.get(key) {
            Some(object @ Value::Object(_)) => Ok(Keys { origin: self.origin, prefix: key, object }),
            _ => Err(self.bad(format!(
                "`{key}` is missing; an open_clip model config has `embed_dim`, `vision_cfg` and `text_cfg`"
            ))),
        }
    }

    /// Refuses keys that could change the computation; `null` and `false` ask for nothing.
    fn only(&self, known: &[&str]) -> Result<(), ModelError> {
        let Value::Object(map) = self.object else {
            return Err(self.bad("it is not a JSON object".to_owned()));
        };
        let asks = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
        match map.iter().find(|(key, value)| !known.contains(&key.as_str()) && asks(value)) {
            Some((key, value)) => Err(self.unsupported(&format!("`{}` = {value}", self.path(key)))),
            None => Ok(()),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}.{key}", self.prefix) }
    }

    fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        let value = match (self.object.get(key), default) {
            (None | Some(Value::Null), Some(default)) => return Ok(default),
            (None | Some(Value::Null), None) => {
                return Err(self.bad(format!("`{}` is missing", self.path(key))));
            }
            (Some(value), _) => value,
        };
        match value.as_u64().and_then(|v| usize::try_from(v).ok()) {
            Some(size) if (1..=LARGEST).contains(&size) => Ok(size),
            _ => Err(self.bad(format!(
                "`{}` is {value}; it must be a whole number from 1 to {LARGEST}",
                self.path(key)
            ))),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, ModelError> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => {
                Err(self.bad(format!("`{}` is {value}; it must be true or false", self.path(key))))
            }
        }
    }

    /// `int(width * mlp_ratio)`, as open_clip computes it.
    fn mlp_width(&self, width: usize) -> Result<usize, ModelError> {
        let ratio = match self.object.get("mlp_ratio") {
            None | Some(Value::Null) => 4.0,
            Some(value) => value.as_f64().unwrap_or(f64::NAN),
        };
        let mlp_width = (width as f64 * ratio) as usize;
        if (1..=LARGEST).contains(&mlp_width) {
            Ok(mlp_width)
        } else {
            Err(self.bad(format!("`{}` must be a positive number", self.path("mlp_ratio"))))
        }
    }
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
            assert_eq!(config.activation == Activation::QuickGelu, name.ends_with("quickgelu"), "{name}");
            assert_eq!(config.vision.width % config.vision.heads, 0, "{name}");
        }
        let giant = ModelConfig::named("ViT-g-14").unwrap();
        assert_eq!((giant.vision.heads, giant.vision.mlp_width), (16, 6144));
    }

    #[test]
    fn the_papers_spelling_of_a_name_is_understood() {
        assert_eq!(ModelConfig::named("ViT-B/16").unwrap().name, "ViT-B-16");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = ModelConfig::named("ViT-X").unwrap_err().to_string();
        assert!(error.contains("ViT-X") && error.contains("ViT-B-32"), "{error}");
    }

    #[test]
    fn keys_that_change_the_computation_are_refused_by_name() {
        let refused = |vision: &str, text: &str| {
            parse(&format!(r#"{{"embed_dim":8,"vision_cfg":{{{vision}}},"text_cfg":{{{text}}}}}"#))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(r#""layers":[2,2,2,2]"#, "").contains("ModifiedResNet"));
        assert!(refused(r#""timm_model_name":"convnext""#, "").contains("convnext"));
        assert!(refused(r#""pool_type":"avg""#, "").contains("vision_cfg.pool_type"));
        assert!(refused("", r#""hf_model_name":"xlm""#).contains("xlm"));
        assert!(refused("", r#""pad_id":1"#).contains("text_cfg.pad_id"));
    }

    #[test]
    fn bad_sizes_are_named() {
        let error = parse(r#"{"embed_dim":0,"vision_cfg":{},"text_cfg":{}}"#).unwrap_err().to_string();
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
        let config =
            parse(r#"{"model_cfg":{"embed_dim":8,"quick_gelu":true,"vision_cfg":{},"text_cfg":{}}}"#)
                .unwrap();
        assert_eq!((config.embed_dim, config.activation), (8, Activation::QuickGelu));
    }
}
