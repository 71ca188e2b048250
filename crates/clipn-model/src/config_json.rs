//! Conversion of a config to open_clip's format: that of `model_configs/*.json` and of `model_cfg`
//! in its hub directories.

use serde_json::{Value, json};

use super::pretrained::mlp_ratio;
use super::{Activation, ModelConfig};

impl ModelConfig {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_architecture_survives_a_round_trip() {
        for name in ModelConfig::names() {
            let config = ModelConfig::named(name).unwrap();
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
        let mut config = ModelConfig::named("ViT-B-32").unwrap();
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
