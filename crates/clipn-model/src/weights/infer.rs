use clipn_checkpoint::Checkpoint;
use serde::Serialize;

use crate::config::{
    ModelConfig, NO_PROMPTS, RESNET_POSITIONAL_EMBEDDING, RESNET_STRIDE, STAGES,
    VIT_POSITIONAL_EMBEDDING,
};
use crate::weights::ModelWeights;

/// Architecture inferred from the names and shapes in a weights file, without a config. Weights do
/// not store the number of heads and the activation; only a config has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InferredArchitecture {
    /// Image tower.
    pub image: Option<InferredImageTower>,
    /// "Yes" text tower.
    pub yes: Option<InferredTextTower>,
    /// "No" text tower.
    pub no: Option<InferredTextTower>,
    /// Number of learnable "no" prompts.
    pub no_prompts: usize,
    /// Dimension `D` of the features.
    pub embed_dim: Option<usize>,
    /// Names of the embedded architectures that the file fits.
    pub fits: Vec<String>,
}

/// Image tower inferred from its tensors.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InferredImageTower {
    /// `ViT` or `ModifiedResNet`.
    pub kind: &'static str,
    /// Width of a ViT's transformer, or channels after a ResNet's stem.
    pub width: Option<usize>,
    /// Number of blocks.
    pub layers: Option<usize>,
    /// Number of blocks in each stage of a ResNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<[usize; STAGES]>,
    /// Side of a ViT's patch in pixels.
    pub patch_size: Option<usize>,
    /// Side of the square input in pixels.
    pub image_size: Option<usize>,
}

/// Text tower inferred from its tensors.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InferredTextTower {
    /// Width of the transformer.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Maximum number of tokens in a text.
    pub context_length: usize,
    /// Number of rows of the token embedding.
    pub vocab_size: usize,
}

impl InferredArchitecture {
    /// Infers the architecture from a file's names and shapes.
    pub fn infer(checkpoint: &Checkpoint) -> Self {
        let shape = |name: &str| checkpoint.get(name).map(|tensor| tensor.shape());
        let fits = |name: &&str| {
            ModelConfig::embedded(name)
                .is_ok_and(|config| ModelWeights::new(config, checkpoint.clone()).is_ok())
        };
        Self {
            image: image(checkpoint),
            yes: text(checkpoint, ""),
            no: text(checkpoint, "_no"),
            no_prompts: shape(NO_PROMPTS)
                .and_then(|s| s.first().copied())
                .unwrap_or_default(),
            embed_dim: shape("text_projection").and_then(|s| s.get(1).copied()),
            fits: ModelConfig::embedded_names()
                .filter(fits)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Describes the architecture as pairs of a heading and a text, for display.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let or_unknown = |n: Option<usize>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let image = match &self.image {
            None => "none".to_owned(),
            Some(tower) if tower.kind == "ViT" => format!(
                "ViT, width {}, {} blocks, patch size {}, image size {}",
                or_unknown(tower.width),
                or_unknown(tower.layers),
                or_unknown(tower.patch_size),
                or_unknown(tower.image_size)
            ),
            Some(tower) => {
                let stages = tower
                    .stages
                    .unwrap_or_default()
                    .map(|blocks| blocks.to_string())
                    .join(" + ");
                format!(
                    "{}, width {}, {stages} blocks, image size {}",
                    tower.kind,
                    or_unknown(tower.width),
                    or_unknown(tower.image_size)
                )
            }
        };
        let text = |tower: &InferredTextTower| {
            format!(
                "width {}, {} blocks, {} positions, {} ids",
                tower.width, tower.layers, tower.context_length, tower.vocab_size
            )
        };
        let no = match &self.no {
            Some(tower) if self.no_prompts > 0 => {
                format!("{}, {} \"no\" prompts", text(tower), self.no_prompts)
            }
            Some(tower) => format!(
                "{}, no learnable prompts (the hand-crafted variant)",
                text(tower)
            ),
            None if self.yes.is_some() => {
                "none: a plain CLIP, to be trained for \"no\" first".to_owned()
            }
            None => "none".to_owned(),
        };
        let mut lines = vec![
            ("image", image),
            (
                "yes",
                self.yes.as_ref().map_or_else(|| "none".to_owned(), text),
            ),
            ("no", no),
            ("features", or_unknown(self.embed_dim)),
        ];
        if !self.fits.is_empty() {
            lines.push(("fits", self.fits.join(", ")));
        }
        lines
    }
}

fn image(checkpoint: &Checkpoint) -> Option<InferredImageTower> {
    let shape = |name: &str| checkpoint.get(name).map(|tensor| tensor.shape());
    let conv = shape("visual.conv1.weight")?;
    let grid = |positions: &str| {
        let rows = shape(positions).and_then(|s| s.first().copied());
        rows.and_then(|rows| rows.checked_sub(1)).map(usize::isqrt)
    };
    if shape("visual.class_embedding").is_none() {
        let stages = std::array::from_fn(|stage| {
            let first = |block: usize| format!("visual.layer{}.{block}.conv1.weight", stage + 1);
            (0..)
                .take_while(|&block| checkpoint.get(&first(block)).is_some())
                .count()
        });
        return Some(InferredImageTower {
            kind: "ModifiedResNet",
            width: shape("visual.layer1.0.conv1.weight").and_then(|s| s.first().copied()),
            layers: Some(stages.iter().sum()),
            stages: Some(stages),
            patch_size: None,
            image_size: grid(RESNET_POSITIONAL_EMBEDDING).map(|grid| grid * RESNET_STRIDE),
        });
    }
    let patch_size = conv.last().copied();
    Some(InferredImageTower {
        kind: "ViT",
        width: conv.first().copied(),
        layers: Some(layers(checkpoint, "visual.transformer")),
        stages: None,
        patch_size,
        image_size: grid(VIT_POSITIONAL_EMBEDDING)
            .zip(patch_size)
            .map(|(grid, patch)| grid.saturating_mul(patch)),
    })
}

fn text(checkpoint: &Checkpoint, no: &str) -> Option<InferredTextTower> {
    let pair = |name: String| match checkpoint.get(&name)?.shape() {
        [rows, width] => Some((*rows, *width)),
        _ => None,
    };
    let (vocab_size, width) = pair(format!("token_embedding{no}.weight"))?;
    let (context_length, _) = pair(format!("positional_embedding{no}"))?;
    Some(InferredTextTower {
        width,
        layers: layers(checkpoint, &format!("transformer{no}")),
        context_length,
        vocab_size,
    })
}

/// Counts the blocks whose first norm is present, from 0 to the first gap.
fn layers(checkpoint: &Checkpoint, prefix: &str) -> usize {
    (0..)
        .take_while(|layer| {
            checkpoint
                .get(&format!("{prefix}.resblocks.{layer}.ln_1.weight"))
                .is_some()
        })
        .count()
}
