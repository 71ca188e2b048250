//! Validation of configs that were not read from open_clip's format.

use crate::config::{
    MAX_LAYERS, MAX_SIZE, MAX_STAGE_BLOCKS, ModelConfig, RESNET_STRIDE, STAGES, VisionConfig,
};
use crate::error::ModelError;

impl ModelConfig {
    /// Checks that the towers can be computed: sizes within bounds, heads of equal width, and the
    /// derived sizes of a ResNet consistent with its stages. `origin` names the config in errors.
    ///
    /// Configs that this crate parses are valid already. This is for those that a program
    /// deserializes or builds itself.
    ///
    /// # Errors
    /// [`ModelError::BadConfig`] with the first invalid size.
    ///
    /// ```
    /// use clipn_model::ModelConfig;
    ///
    /// let mut config = ModelConfig::embedded("ViT-B-32")?;
    /// config.vision.heads = 7;
    /// let error = config.validate("my config").unwrap_err();
    /// assert!(error.to_string().contains("vision.width 768"), "{error}");
    /// # Ok::<(), clipn_model::ModelError>(())
    /// ```
    pub fn validate(&self, origin: &str) -> Result<(), ModelError> {
        self.validation_error().map_or(Ok(()), |reason| {
            Err(ModelError::BadConfig {
                origin: origin.to_owned(),
                reason,
            })
        })
    }

    fn validation_error(&self) -> Option<String> {
        let (vision, text) = (&self.vision, &self.text);
        let image = || match vision.stages {
            Some(stages) => resnet(vision, stages),
            None => vit(vision),
        };
        out_of_bounds(&[("embed_dim", self.embed_dim, MAX_SIZE)])
            .or_else(image)
            .or_else(|| {
                out_of_bounds(&[
                    ("text.context_length", text.context_length, MAX_SIZE),
                    ("text.vocab_size", text.vocab_size, MAX_SIZE),
                    ("text.width", text.width, MAX_SIZE),
                    ("text.layers", text.layers, MAX_LAYERS),
                    ("text.heads", text.heads, text.width),
                    ("text.mlp_width", text.mlp_width, MAX_SIZE),
                ])
                .or_else(|| unequal_heads("text.width", text.width, "text.heads", text.heads))
            })
    }
}

fn vit(vision: &VisionConfig) -> Option<String> {
    out_of_bounds(&[
        ("vision.image_size", vision.image_size, MAX_SIZE),
        ("vision.patch_size", vision.patch_size, vision.image_size),
        ("vision.width", vision.width, MAX_SIZE),
        ("vision.layers", vision.layers, MAX_LAYERS),
        ("vision.heads", vision.heads, vision.width),
        ("vision.mlp_width", vision.mlp_width, MAX_SIZE),
    ])
    .or_else(|| unequal_heads("vision.width", vision.width, "vision.heads", vision.heads))
}

fn resnet(vision: &VisionConfig, stages: [usize; STAGES]) -> Option<String> {
    let sizes = [
        ("vision.image_size", vision.image_size, MAX_SIZE),
        ("vision.width", vision.width, MAX_SIZE),
    ];
    let blocks = stages.map(|blocks| ("vision.stages", blocks, MAX_STAGE_BLOCKS));
    let minimums = [
        ("vision.image_size", vision.image_size, RESNET_STRIDE),
        ("vision.width", vision.width, 2),
    ];
    let inconsistent = || {
        let (name, size, expected) = [
            ("vision.patch_size", vision.patch_size, RESNET_STRIDE),
            ("vision.layers", vision.layers, stages.iter().sum()),
            ("vision.mlp_width", vision.mlp_width, 0),
        ]
        .into_iter()
        .find(|(_, size, expected)| size != expected)?;
        Some(format!(
            "expected {name} {expected} for a ResNet with the stages {stages:?}, got {size}"
        ))
    };
    out_of_bounds(&sizes)
        .or_else(|| out_of_bounds(&blocks))
        .or_else(|| {
            let (name, size, minimum) = minimums
                .into_iter()
                .find(|(_, size, minimum)| size < minimum)?;
            Some(format!(
                "expected {name} of at least {minimum} for a ResNet, got {size}"
            ))
        })
        .or_else(inconsistent)
        .or_else(|| out_of_bounds(&[("vision.heads", vision.heads, vision.pooled_width())]))
        .or_else(|| {
            let pooled = format!("{RESNET_STRIDE} times vision.width =");
            unequal_heads(&pooled, vision.pooled_width(), "vision.heads", vision.heads)
        })
}

/// Returns an error message for the first `(name, size, maximum)` that is out of bounds.
fn out_of_bounds(sizes: &[(&str, usize, usize)]) -> Option<String> {
    let (name, size, maximum) = sizes
        .iter()
        .find(|(_, size, maximum)| !(1..=*maximum).contains(size))?;
    Some(format!("expected {name} from 1 to {maximum}, got {size}"))
}

fn unequal_heads(width_name: &str, width: usize, name: &str, heads: usize) -> Option<String> {
    (!width.is_multiple_of(heads))
        .then(|| format!("{width_name} {width} is not a multiple of {name} {heads}"))
}
