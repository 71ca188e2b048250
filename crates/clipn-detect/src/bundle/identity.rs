use serde::{Deserialize, Serialize};

use clipn_model::{ModelConfig, Weights};

/// Which model a classifier belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The architecture.
    pub config: ModelConfig,
    /// [`Weights::image_tower_hash`].
    pub image_tower: String,
    /// [`Weights::text_towers_hash`].
    pub text_towers: String,
    /// Where the weights were found, in the words of who built the classifier: a path or a name.
    pub source: Option<String>,
}

impl ModelIdentity {
    /// The identity of weights that were found at `source`.
    pub fn of(weights: &Weights, source: Option<String>) -> Self {
        Self {
            config: weights.config().clone(),
            image_tower: weights.image_tower_hash(),
            text_towers: weights.text_towers_hash(),
            source,
        }
    }

    /// What other weights have differently in their image tower; nothing for the same.
    pub(super) fn differences(&self, weights: &Weights) -> Vec<String> {
        let (own, other) = (&self.config, weights.config());
        let numbers = [
            ("image size", own.vision.image_size, other.vision.image_size),
            (
                "layers of the image tower",
                own.vision.layers,
                other.vision.layers,
            ),
            (
                "width of the image tower",
                own.vision.width,
                other.vision.width,
            ),
            ("patch size", own.vision.patch_size, other.vision.patch_size),
            ("dimension of the features", own.embed_dim, other.embed_dim),
        ];
        let mut differing: Vec<String> = numbers
            .into_iter()
            .filter(|(_, own, other)| own != other)
            .map(|(what, own, other)| format!("{what} {other} instead of {own}"))
            .collect();
        if own.activation != other.activation {
            differing.push("another activation".to_owned());
        }
        if differing.is_empty()
            && (own.vision != other.vision || weights.image_tower_hash() != self.image_tower)
        {
            differing.push("the values of the image tower".to_owned());
        }
        differing
    }
}
