//! Details of one architecture.

use std::io::Write;

use clipn::model::ModelConfig;

use super::tags::{self, Tag};
use super::{Architecture, NO_PROMPTS};
use crate::common::numbers::{bytes, thousands};

/// Writes everything about one architecture.
pub(super) fn write(out: &mut impl Write, one: &Architecture) -> std::io::Result<()> {
    let Architecture { config, parameters } = one;
    let text = &config.text;
    writeln!(out, "model       {}", config.name)?;
    writeln!(out, "activation  {}", config.activation)?;
    writeln!(out, "image       {}", image_tower(config))?;
    writeln!(
        out,
        "text        width {}, {} blocks, {} heads, hidden layers of {}, {} positions, {} ids",
        text.width, text.layers, text.heads, text.mlp_width, text.context_length, text.vocab_size
    )?;
    writeln!(out, "features    {}", config.embed_dim)?;
    writeln!(
        out,
        "CLIP        {} parameters: image {}, text {}, logit scale {}",
        thousands(parameters.clip()),
        thousands(parameters.image),
        thousands(parameters.yes),
        parameters.logit_scale
    )?;
    writeln!(
        out,
        "CLIPN       {} parameters: \"no\" side {}, including {NO_PROMPTS} prompts",
        thousands(parameters.clipn()),
        thousands(parameters.no)
    )?;
    if parameters.statistics > 0 {
        writeln!(
            out,
            "statistics  {} values of batch norms",
            thousands(parameters.statistics)
        )?;
    }
    let stored = parameters.clipn().saturating_add(parameters.statistics) as u64;
    writeln!(
        out,
        "file        {} in f32, {} in f16",
        bytes(stored.saturating_mul(4)),
        bytes(stored.saturating_mul(2))
    )?;
    writeln!(
        out,
        "operations  {:.2} GFLOP per image, {:.2} GFLOP per text of {} tokens",
        one.image_gflops(),
        one.text_gflops(),
        text.context_length
    )?;
    tags::write(out, &Tag::list(&config.name))
}

fn image_tower(config: &ModelConfig) -> String {
    let vision = &config.vision;
    match vision.stages {
        Some(stages) => format!(
            "ModifiedResNet, width {}, {} blocks, {} heads in its attention pooling, images of {} pixels",
            vision.width,
            stages.map(|blocks| blocks.to_string()).join(" + "),
            vision.heads,
            vision.image_size
        ),
        None => format!(
            "ViT, width {}, {} blocks, {} heads, hidden layers of {}, patches of {}, images of {} pixels",
            vision.width,
            vision.layers,
            vision.heads,
            vision.mlp_width,
            vision.patch_size,
            vision.image_size
        ),
    }
}
