use clipn_model::{ModelConfig, ModelWeights, Precision};
use serde::{Deserialize, Serialize};

/// Identity of the model that a classifier was built with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelIdentity {
    /// Architecture of the model.
    pub config: ModelConfig,
    /// Hash of the image tower, see [`ModelWeights::image_tower_hash`].
    #[serde(rename = "image_tower")]
    pub image_tower_hash: String,
    /// Hash of the text towers, see [`ModelWeights::text_towers_hash`].
    #[serde(rename = "text_towers")]
    pub text_towers_hash: String,
    /// Source of the weights as given when the classifier was built: a path or a name.
    pub source: Option<String>,
    /// Precision of the towers that the classifier was built with and that images are encoded with.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
}

fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

impl ModelIdentity {
    /// Returns the identity of `weights` that were loaded from `source`, a path or a name. Reads and
    /// hashes all weights.
    pub fn from_weights(weights: &ModelWeights, source: impl Into<Option<String>>) -> Self {
        Self {
            config: weights.config().clone(),
            image_tower_hash: weights.image_tower_hash(),
            text_towers_hash: weights.text_towers_hash(),
            source: source.into(),
            precision: weights.precision(),
        }
    }

    /// Describes how the image tower of `weights` differs; empty if it is the same.
    pub(super) fn differences(&self, weights: &ModelWeights) -> Vec<String> {
        let (own, other) = (&self.config, weights.config());
        let numbers = [
            ("image size", own.vision.image_size, other.vision.image_size),
            ("image tower layers", own.vision.layers, other.vision.layers),
            ("image tower width", own.vision.width, other.vision.width),
            ("patch size", own.vision.patch_size, other.vision.patch_size),
            ("feature dimension", own.embed_dim, other.embed_dim),
        ];
        let mut differences: Vec<String> = numbers
            .into_iter()
            .filter(|(_, own, other)| own != other)
            .map(|(what, own, other)| format!("expected {what} {own}, got {other}"))
            .collect();
        if own.activation != other.activation {
            differences.push("different activation".to_owned());
        }
        if differences.is_empty()
            && (own.vision != other.vision || weights.image_tower_hash() != self.image_tower_hash)
        {
            differences.push("different image tower weights".to_owned());
        }
        differences
    }
}
