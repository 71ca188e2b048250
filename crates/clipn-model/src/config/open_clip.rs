//! open_clip's format of a config, in both directions: that of `model_configs/*.json` and of
//! `model_cfg` in its hub directories.

use serde_json::{Value, json};

use crate::config::keys::{check_text_keys, check_top_keys, check_vision_keys};
use crate::config::{
    Activation, ConfigObject, MAX_STAGE_BLOCKS, ModelConfig, RESNET_STRIDE, STAGES, TextConfig,
    VisionConfig,
};
use crate::error::ModelError;

impl ModelConfig {
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
    /// Parses a config that is JSON already. `origin` names it in errors.
    pub(crate) fn from_value(name: &str, origin: &str, value: &Value) -> Result<Self, ModelError> {
        let root = value.get("model_cfg").unwrap_or(value);
        let config = ConfigObject::from_value(origin.to_owned(), root.clone())?;
        check_top_keys(&config)?;
        Ok(Self {
            name: name.to_owned(),
            embed_dim: config.size("embed_dim", None)?,
            activation: if config.flag("quick_gelu", false)? {
                Activation::QuickGelu
            } else {
                Activation::Gelu
            },
            vision: vision(&config.required_section("vision_cfg")?)?,
            text: text(&config.required_section("text_cfg")?)?,
        })
    }

    /// Returns the config in open_clip's format. [`from_json`](Self::from_json) reads it back
    /// unchanged, except for the name.
    pub fn to_open_clip(&self) -> Value {
        let (vision, text) = (&self.vision, &self.text);
        let image_tower = match vision.stages {
            Some(stages) => json!({
                "image_size": vision.image_size,
                "layers": stages,
                "width": vision.width,
                "head_width": vision.pooled_width() / vision.heads.max(1),
                "patch_size": null,
            }),
            None => json!({
                "image_size": vision.image_size,
                "layers": vision.layers,
                "width": vision.width,
                "head_width": vision.width / vision.heads.max(1),
                "mlp_ratio": mlp_ratio(vision.width, vision.mlp_width),
                "patch_size": vision.patch_size,
            }),
        };
        json!({
            "embed_dim": self.embed_dim,
            "quick_gelu": self.activation == Activation::QuickGelu,
            "vision_cfg": image_tower,
            "text_cfg": {
                "context_length": text.context_length,
                "vocab_size": text.vocab_size,
                "width": text.width,
                "heads": text.heads,
                "layers": text.layers,
                "mlp_ratio": mlp_ratio(text.width, text.mlp_width),
            },
        })
    }
}

fn vision(config: &ConfigObject) -> Result<VisionConfig, ModelError> {
    if let Some(Value::Array(stages)) = config.get("layers") {
        return resnet(config, stages);
    }
    if let Some(name) = config.get("timm_model_name") {
        return Err(config.unsupported_config(format!("timm image tower {name}")));
    }
    check_vision_keys(config)?;
    let width = config.size("width", Some(768))?;
    let head_width = config.size("head_width", Some(64))?;
    let sizes = VisionConfig {
        image_size: config.side("image_size", 224)?,
        patch_size: config.side("patch_size", 16)?,
        width,
        layers: config.layers()?,
        heads: width / head_width,
        mlp_width: config.mlp_width(width)?,
        stages: None,
    };
    if sizes.heads == 0 || width % sizes.heads != 0 {
        return Err(config.bad_config(format!(
            "vision_cfg.width {width} cannot be split into equal heads \
                 of head_width {head_width}"
        )));
    }
    if sizes.patch_size > sizes.image_size {
        return Err(config.bad_config(format!(
            "vision_cfg.patch_size {} exceeds image_size {}",
            sizes.patch_size, sizes.image_size
        )));
    }
    Ok(sizes)
}

/// CLIP's ResNet as open_clip reads it, without `patch_size` and `mlp_ratio`.
fn resnet(config: &ConfigObject, stages: &[Value]) -> Result<VisionConfig, ModelError> {
    check_vision_keys(config)?;
    let blocks: Vec<usize> = stages
        .iter()
        .filter_map(|stage| {
            stage
                .as_u64()
                .and_then(|blocks| usize::try_from(blocks).ok())
        })
        .filter(|blocks| (1..=MAX_STAGE_BLOCKS).contains(blocks))
        .collect();
    let stages: [usize; STAGES] = match blocks.try_into() {
        Ok(blocks) if stages.len() == STAGES => blocks,
        _ => {
            return Err(config.bad_config(format!(
                "expected `{}` to be a number or four block counts from 1 to {MAX_STAGE_BLOCKS}",
                config.path("layers")
            )));
        }
    };
    let width = config.size("width", Some(64))?;
    let head_width = config.size("head_width", Some(64))?;
    let sizes = VisionConfig {
        image_size: config.side("image_size", 224)?,
        patch_size: RESNET_STRIDE,
        width,
        layers: stages.iter().sum(),
        heads: width * RESNET_STRIDE / head_width,
        mlp_width: 0,
        stages: Some(stages),
    };
    if width < 2 || sizes.heads == 0 || !sizes.pooled_width().is_multiple_of(sizes.heads) {
        return Err(config.bad_config(format!(
            "{RESNET_STRIDE} times vision_cfg.width {width} cannot be split into equal heads \
                 of head_width {head_width}"
        )));
    }
    if sizes.image_size < RESNET_STRIDE {
        return Err(config.bad_config(format!(
            "expected vision_cfg.image_size of at least {RESNET_STRIDE} for a ResNet, got {}",
            sizes.image_size
        )));
    }
    Ok(sizes)
}

fn text(config: &ConfigObject) -> Result<TextConfig, ModelError> {
    if let Some(name) = config.get("hf_model_name") {
        return Err(config.unsupported_config(format!("Hugging Face text tower {name}")));
    }
    let vocab_size = config.size("vocab_size", Some(49408))?;
    check_text_keys(config, vocab_size)?;
    let width = config.size("width", Some(512))?;
    let heads = config.size("heads", Some(8))?;
    if width % heads != 0 {
        return Err(config.bad_config(format!(
            "text_cfg.width {width} is not a multiple of text_cfg.heads {heads}"
        )));
    }
    Ok(TextConfig {
        context_length: config.size("context_length", Some(77))?,
        vocab_size,
        width,
        layers: config.layers()?,
        heads,
        mlp_width: config.mlp_width(width)?,
    })
}

/// Returns a ratio that gives exactly `hidden` when multiplied by `width` and truncated. If either
/// is 0, the ratio is 0, which a config rejects.
pub(crate) fn mlp_ratio(width: usize, hidden: usize) -> f64 {
    if hidden == 0 || width == 0 {
        return 0.0;
    }
    // The middle of the range that truncates to `hidden`, so that rounding of the ratio cannot
    // leave it.
    let product = if hidden.is_multiple_of(width) {
        hidden as f64
    } else {
        hidden as f64 + 0.5
    };
    product / width as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ModelConfig, ModelError> {
        ModelConfig::from_json("test", "test.json", json)
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

    #[test]
    fn every_embedded_architecture_survives_a_round_trip() {
        for name in ModelConfig::embedded_names() {
            let config = ModelConfig::embedded(name).unwrap();
            let json = config.to_open_clip().to_string();
            assert_eq!(
                ModelConfig::from_json(name, name, &json).unwrap(),
                config,
                "{json}"
            );
        }
    }

    #[test]
    fn hidden_layers_of_any_width_survive_a_round_trip() {
        let mut config = ModelConfig::embedded("ViT-B-32").unwrap();
        for hidden in (1..5000).chain([1 << 23, (1 << 24) - 1]) {
            (config.vision.mlp_width, config.text.mlp_width) = (hidden, hidden);
            let json = config.to_open_clip().to_string();
            assert_eq!(
                ModelConfig::from_json("ViT-B-32", "", &json).unwrap(),
                config,
                "{hidden}"
            );
        }
    }
}
