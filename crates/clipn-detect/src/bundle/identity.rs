use serde::{Deserialize, Serialize};

use clipn_model::{ModelConfig, Weights};

/// Identity of the model that a classifier was built with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Architecture of the model.
    pub config: ModelConfig,
    /// Hash of the image tower, see [`Weights::image_tower_hash`].
    pub image_tower: String,
    /// Hash of the text towers, see [`Weights::text_towers_hash`].
    pub text_towers: String,
    /// Source of the weights as given when the classifier was built: a path or a name.
    pub source: Option<String>,
}

impl ModelIdentity {
    /// Returns the identity of `weights` that were loaded from `source`.
    pub fn of(weights: &Weights, source: Option<String>) -> Self {
        Self {
            config: weights.config().clone(),
            image_tower: weights.image_tower_hash(),
            text_towers: weights.text_towers_hash(),
            source,
        }
    }

    /// Describes how the image tower of `weights` differs; empty if it is the same.
    pub(super) fn differences(&self, weights: &Weights) -> Vec<String> {
        let (own, other) = (&self.config, weights.config());
        let numbers = [
            ("image size", own.vision.image_size, other.vision.image_size),
            ("image tower layers", own.vision.layers, other.vision.layers),
            ("image tower width", own.vision.width, other.vision.width),
            ("patch size", own.vision.patch_size, other.vision.patch_size),
            ("feature dimension", own.embed_dim, other.embed_dim),
        ];
        let mut differing: Vec<String> = numbers
            .into_iter()
            .filter(|(_, own, other)| own != other)
            .map(|(what, own, other)| format!("expected {what} {own}, got {other}"))
            .collect();
        if own.activation != other.activation {
            differing.push("different activation".to_owned());
        }
        if differing.is_empty()
            && (own.vision != other.vision || weights.image_tower_hash() != self.image_tower)
        {
            differing.push("different image tower weights".to_owned());
        }
        differing
    }
}
