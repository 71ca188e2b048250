//! Names and shapes of a CLIPN model's tensors, in open_clip's naming.

use super::{ModelConfig, TextConfig, VisionConfig, resnet};

/// Name and shape of a tensor.
pub type Named = (String, Vec<usize>);

/// One of the two text towers. Names of the "no" side contain the suffix `_no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// CLIP's own text tower.
    Yes,
    /// CLIPN's "no" text tower.
    No,
}

impl Side {
    /// Returns the suffix in the names of the tower's tensors: empty or `_no`.
    pub fn suffix(self) -> &'static str {
        match self {
            Side::Yes => "",
            Side::No => "_no",
        }
    }
}

/// Name of the learnable "no" prompts, `[prompts, context_length, width]`; absent in the
/// hand-crafted variant.
pub const PROMPT_NO: &str = "prompt_no";

/// Returns whether a tensor belongs to the "no" side.
pub(super) fn is_no_side(name: &str) -> bool {
    name == PROMPT_NO
        || name
            .split('.')
            .next()
            .is_some_and(|first| first.ends_with("_no"))
}

/// Lists the tensors of the three towers and the logit scale, without [`PROMPT_NO`], in open_clip's
/// order of towers.
pub fn expected(config: &ModelConfig) -> Vec<Named> {
    let mut names = vision(&config.vision, config.embed_dim);
    names.extend(text(&config.text, config.embed_dim, Side::Yes));
    names.extend(text(&config.text, config.embed_dim, Side::No));
    names.push(("logit_scale".to_owned(), vec![]));
    names
}

/// Lists the tensors of the image tower.
pub fn vision(config: &VisionConfig, embed_dim: usize) -> Vec<Named> {
    if let Some(stages) = config.stages {
        return resnet::names(config, stages, embed_dim);
    }
    let VisionConfig {
        width,
        patch_size,
        mlp_width,
        ..
    } = *config;
    let mut names = vec![
        ("visual.class_embedding".to_owned(), vec![width]),
        (
            "visual.positional_embedding".to_owned(),
            vec![1 + config.grid() * config.grid(), width],
        ),
        ("visual.proj".to_owned(), vec![width, embed_dim]),
        (
            "visual.conv1.weight".to_owned(),
            vec![width, 3, patch_size, patch_size],
        ),
    ];
    norm(&mut names, "visual.ln_pre", width);
    blocks(
        &mut names,
        "visual.transformer",
        config.layers,
        width,
        mlp_width,
    );
    norm(&mut names, "visual.ln_post", width);
    names
}

/// Lists the tensors of a text tower.
pub fn text(config: &TextConfig, embed_dim: usize, side: Side) -> Vec<Named> {
    let TextConfig {
        width, mlp_width, ..
    } = *config;
    let no = side.suffix();
    let mut names = vec![
        (
            format!("token_embedding{no}.weight"),
            vec![config.vocab_size, width],
        ),
        (
            format!("positional_embedding{no}"),
            vec![config.context_length, width],
        ),
        (format!("text_projection{no}"), vec![width, embed_dim]),
    ];
    blocks(
        &mut names,
        &format!("transformer{no}"),
        config.layers,
        width,
        mlp_width,
    );
    norm(&mut names, &format!("ln_final{no}"), width);
    names
}

fn norm(names: &mut Vec<Named>, prefix: &str, width: usize) {
    names.push((format!("{prefix}.weight"), vec![width]));
    names.push((format!("{prefix}.bias"), vec![width]));
}

fn blocks(names: &mut Vec<Named>, prefix: &str, layers: usize, width: usize, mlp_width: usize) {
    for layer in 0..layers {
        let block = format!("{prefix}.resblocks.{layer}");
        norm(names, &format!("{block}.ln_1"), width);
        names.push((
            format!("{block}.attn.in_proj_weight"),
            vec![3 * width, width],
        ));
        names.push((format!("{block}.attn.in_proj_bias"), vec![3 * width]));
        names.push((format!("{block}.attn.out_proj.weight"), vec![width, width]));
        names.push((format!("{block}.attn.out_proj.bias"), vec![width]));
        norm(names, &format!("{block}.ln_2"), width);
        names.push((format!("{block}.mlp.c_fc.weight"), vec![mlp_width, width]));
        names.push((format!("{block}.mlp.c_fc.bias"), vec![mlp_width]));
        names.push((format!("{block}.mlp.c_proj.weight"), vec![width, mlp_width]));
        names.push((format!("{block}.mlp.c_proj.bias"), vec![width]));
    }
}
