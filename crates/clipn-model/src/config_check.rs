//! Whether a config that was not read from open_clip's form can be computed.

use super::config::{LARGEST, LARGEST_STAGE, MOST_LAYERS, RESNET_STRIDE};
use super::{ModelConfig, ModelError, STAGES, VisionConfig};

impl ModelConfig {
    /// Says whether the towers can be computed: sizes in bounds, heads of equal width, the sizes of a ResNet those that
    /// follow from its stages. `origin` names the config in errors.
    pub fn check(&self, origin: &str) -> Result<(), ModelError> {
        self.problem().map_or(Ok(()), |reason| {
            Err(ModelError::BadConfig {
                origin: origin.to_owned(),
                reason,
            })
        })
    }

    fn problem(&self) -> Option<String> {
        let (vision, text) = (&self.vision, &self.text);
        let image = || match vision.stages {
            Some(stages) => resnet(vision, stages),
            None => vit(vision),
        };
        out_of_bounds(&[("embed_dim", self.embed_dim, LARGEST)])
            .or_else(image)
            .or_else(|| {
                out_of_bounds(&[
                    ("text.context_length", text.context_length, LARGEST),
                    ("text.vocab_size", text.vocab_size, LARGEST),
                    ("text.width", text.width, LARGEST),
                    ("text.layers", text.layers, MOST_LAYERS),
                    ("text.heads", text.heads, text.width),
                    ("text.mlp_width", text.mlp_width, LARGEST),
                ])
                .or_else(|| unequal_heads("text.width", text.width, "text.heads", text.heads))
            })
    }
}

fn vit(vision: &VisionConfig) -> Option<String> {
    out_of_bounds(&[
        ("vision.image_size", vision.image_size, LARGEST),
        ("vision.patch_size", vision.patch_size, vision.image_size),
        ("vision.width", vision.width, LARGEST),
        ("vision.layers", vision.layers, MOST_LAYERS),
        ("vision.heads", vision.heads, vision.width),
        ("vision.mlp_width", vision.mlp_width, LARGEST),
    ])
    .or_else(|| unequal_heads("vision.width", vision.width, "vision.heads", vision.heads))
}

fn resnet(vision: &VisionConfig, stages: [usize; STAGES]) -> Option<String> {
    let sizes = [
        ("vision.image_size", vision.image_size, LARGEST),
        ("vision.width", vision.width, LARGEST),
    ];
    let blocks = stages.map(|blocks| ("vision.stages", blocks, LARGEST_STAGE));
    let least = [
        ("vision.image_size", vision.image_size, RESNET_STRIDE),
        ("vision.width", vision.width, 2),
    ];
    let follows = || {
        let (name, size, whole) = [
            ("vision.patch_size", vision.patch_size, RESNET_STRIDE),
            ("vision.layers", vision.layers, stages.iter().sum()),
            ("vision.mlp_width", vision.mlp_width, 0),
        ]
        .into_iter()
        .find(|(_, size, whole)| size != whole)?;
        Some(format!(
            "{name} is {size}; of a ResNet of the stages {stages:?} it is {whole}"
        ))
    };
    out_of_bounds(&sizes)
        .or_else(|| out_of_bounds(&blocks))
        .or_else(|| {
            let (name, size, least) = least.into_iter().find(|(_, size, least)| size < least)?;
            Some(format!("{name} is {size}; a ResNet needs at least {least}"))
        })
        .or_else(follows)
        .or_else(|| out_of_bounds(&[("vision.heads", vision.heads, vision.pooled_width())]))
        .or_else(|| {
            let pooled = format!("{RESNET_STRIDE} times vision.width,");
            unequal_heads(&pooled, vision.pooled_width(), "vision.heads", vision.heads)
        })
}

/// The first of names, sizes and largest sizes that is out of bounds.
fn out_of_bounds(sizes: &[(&str, usize, usize)]) -> Option<String> {
    let (name, size, most) = sizes
        .iter()
        .find(|(_, size, most)| !(1..=*most).contains(size))?;
    Some(format!(
        "{name} is {size}; it must be a whole number from 1 to {most}"
    ))
}

fn unequal_heads(of: &str, width: usize, name: &str, heads: usize) -> Option<String> {
    (!width.is_multiple_of(heads))
        .then(|| format!("{of} {width} is not a multiple of {name} {heads}"))
}
