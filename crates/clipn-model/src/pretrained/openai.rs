//! OpenAI's weights. The sizes are inferred from the shapes of the tensors; heads are 64 wide and
//! the activation is QuickGELU (CLIP, `clip/model.py`, `build_model`).

use std::path::Path;

use clipn_checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::config::{
    ModelConfig, RESNET_POSITIONAL_EMBEDDING, RESNET_STRIDE, STAGES, VIT_POSITIONAL_EMBEDDING,
    mlp_ratio,
};
use crate::error::ModelError;

/// Sizes that only OpenAI's models store as tensors.
const SIZES: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// Width of an attention head in all of OpenAI's towers.
const HEAD_WIDTH: usize = 64;

/// Returns whether the weights are OpenAI's: a downloaded TorchScript archive or its state dict.
pub(super) fn is_openai(checkpoint: &Checkpoint) -> bool {
    SIZES
        .iter()
        .all(|name| checkpoint.get(name).is_some_and(|tensor| tensor.len() == 1))
}

/// Infers the architecture from the tensors' shapes.
pub(super) fn config(checkpoint: &Checkpoint, path: &Path) -> Result<ModelConfig, ModelError> {
    let shapes = Shapes { checkpoint, path };
    let [context_length, text_width] = shapes.shape("positional_embedding")?;
    let [vocab_size, _] = shapes.shape("token_embedding.weight")?;
    let [_, embed_dim] = shapes.shape("text_projection")?;
    let [mlp_width, _] = shapes.shape("transformer.resblocks.0.mlp.c_fc.weight")?;
    let value = json!({
        "embed_dim": embed_dim,
        "quick_gelu": true,
        "vision_cfg": shapes.vision()?,
        "text_cfg": {
            "context_length": context_length,
            "vocab_size": vocab_size,
            "width": text_width,
            "heads": text_width / HEAD_WIDTH,
            "layers": shapes.blocks("transformer.resblocks"),
            "mlp_ratio": mlp_ratio(text_width, mlp_width),
        },
    });
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let config = ModelConfig::from_value(&name, &path.display().to_string(), &value)?;
    for (name, size) in SIZES.iter().zip([
        config.vision.image_size,
        config.text.context_length,
        config.text.vocab_size,
    ]) {
        let stored = shapes.number(name);
        if stored != i64::try_from(size).ok() {
            let reason = format!(
                "expected {name} of {size} from the tensors' shapes, got {}",
                stored.map_or_else(|| "none".to_owned(), |value| value.to_string())
            );
            return Err(shapes.bad(reason));
        }
    }
    Ok(config)
}

/// Shapes of tensors, with the file for error messages.
struct Shapes<'a> {
    checkpoint: &'a Checkpoint,
    path: &'a Path,
}

impl Shapes<'_> {
    fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N], ModelError> {
        let shape = self.checkpoint.get(name).map(|tensor| tensor.shape());
        match shape {
            Some(shape) => shape.try_into().map_err(|_| {
                self.bad(format!(
                    "expected {N} dimensions for {name}, got shape {shape:?}"
                ))
            }),
            None => Err(self.bad(format!("missing tensor {name}"))),
        }
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.checkpoint.get(name)?.to_i64().first().copied()
    }

    /// Counts the blocks from 0 to the first gap.
    fn blocks(&self, prefix: &str) -> usize {
        let has = |block: &usize| {
            let first_tensors = ["ln_1.weight", "conv1.weight"];
            first_tensors.iter().any(|part| {
                self.checkpoint
                    .get(&format!("{prefix}.{block}.{part}"))
                    .is_some()
            })
        };
        (0..).take_while(has).count()
    }

    fn vision(&self) -> Result<Value, ModelError> {
        let grid = |rows: usize| rows.saturating_sub(1).isqrt();
        if self
            .checkpoint
            .get("visual.layer1.0.conv1.weight")
            .is_some()
        {
            let [width, ..]: [usize; 4] = self.shape("visual.layer1.0.conv1.weight")?;
            let [rows, _] = self.shape(RESNET_POSITIONAL_EMBEDDING)?;
            let layers: Vec<usize> = (1..=STAGES)
                .map(|layer| self.blocks(&format!("visual.layer{layer}")))
                .collect();
            return Ok(json!({
                "image_size": RESNET_STRIDE * grid(rows),
                "layers": layers,
                "width": width,
                "head_width": HEAD_WIDTH,
            }));
        }
        let [width, _, _, patch_size] = self.shape("visual.conv1.weight")?;
        let [rows, _] = self.shape(VIT_POSITIONAL_EMBEDDING)?;
        let [mlp_width, _] = self.shape("visual.transformer.resblocks.0.mlp.c_fc.weight")?;
        Ok(json!({
            "image_size": grid(rows).saturating_mul(patch_size),
            "patch_size": patch_size,
            "width": width,
            "head_width": HEAD_WIDTH,
            "layers": self.blocks("visual.transformer.resblocks"),
            "mlp_ratio": mlp_ratio(width, mlp_width),
        }))
    }

    fn bad(&self, reason: String) -> ModelError {
        ModelError::BadConfig {
            origin: format!("in the weights {}", self.path.display()),
            reason,
        }
    }
}
