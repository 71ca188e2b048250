//! `CLIPModel` directories of Hugging Face `transformers`: `config.json`.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{ConfigObject, ModelConfig, mlp_ratio};
use crate::error::ModelError;
use crate::pretrained::model_name_of_directory;

/// File name of the config.
pub(crate) const CONFIG_FILE: &str = "config.json";

/// File name of the weights.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";

/// Epsilon of CLIP's layer norms.
pub(crate) const EPSILON: f64 = 1e-5;

/// Id of `<end_of_text>` in CLIP's vocabulary.
const END_OF_TEXT: u64 = 49407;

/// Value of `eos_token_id` in configs that predate its use; features are then taken at the largest
/// id.
const LEGACY_END_OF_TEXT: u64 = 2;

/// Parses the architecture; absent keys have the defaults of `CLIPConfig`.
pub(super) fn config(path: &Path) -> Result<ModelConfig, ModelError> {
    let object = ConfigObject::read(path)?;
    let kind = object.text("model_type", "clip")?;
    if kind != "clip" {
        return Err(object.unsupported("model_type", &Value::from(kind)));
    }
    let (text, vision) = (
        section(&object, "text_config")?,
        section(&object, "vision_config")?,
    );
    for tower in [&text, &vision] {
        let epsilon = tower.number("layer_norm_eps", EPSILON)?;
        if (epsilon - EPSILON).abs() > 1e-9 {
            return Err(tower.unsupported("layer_norm_eps", &Value::from(epsilon)));
        }
    }
    if vision.whole("num_channels", 3)? != 3 {
        return Err(vision.unsupported(
            "num_channels",
            &Value::from(vision.whole("num_channels", 3)?),
        ));
    }
    let value = json!({
        "embed_dim": object.whole("projection_dim", 512)?,
        "quick_gelu": is_quick_gelu(&text, &vision)?,
        "vision_cfg": vision_cfg(&vision)?,
        "text_cfg": text_cfg(&text)?,
    });
    ModelConfig::from_value(
        &model_name_of_directory(path),
        &path.display().to_string(),
        &value,
    )
}

/// Returns a tower's section. Older configs also have it under `…_dict`, which takes precedence.
fn section(object: &ConfigObject, key: &str) -> Result<ConfigObject, ModelError> {
    match object.section(&format!("{key}_dict"))? {
        Some(section) => Ok(section),
        None => Ok(object.section(key)?.unwrap_or_else(|| object.empty(key))),
    }
}

/// Returns whether the activation, which both towers must share, is QuickGELU.
fn is_quick_gelu(text: &ConfigObject, vision: &ConfigObject) -> Result<bool, ModelError> {
    let quick = |tower: &ConfigObject| {
        let name = tower.text("hidden_act", "quick_gelu")?;
        match name {
            "quick_gelu" => Ok(true),
            "gelu" => Ok(false),
            other => Err(tower.unsupported("hidden_act", &Value::from(other))),
        }
    };
    let (text_is, vision_is) = (quick(text)?, quick(vision)?);
    if text_is != vision_is {
        let both = format!(
            "{}, but {} in text_config",
            vision.text("hidden_act", "quick_gelu")?,
            text.text("hidden_act", "quick_gelu")?
        );
        return Err(vision.unsupported("hidden_act", &Value::from(both)));
    }
    Ok(text_is)
}

fn vision_cfg(tower: &ConfigObject) -> Result<Value, ModelError> {
    let width = tower.whole("hidden_size", 768)?;
    let heads = tower.whole("num_attention_heads", 12)?;
    if heads == 0 || width % heads != 0 {
        let expected = format!("a divisor of hidden_size {width}");
        return Err(tower.bad("num_attention_heads", &Value::from(heads), &expected));
    }
    Ok(json!({
        "image_size": tower.whole("image_size", 224)?,
        "patch_size": tower.whole("patch_size", 32)?,
        "width": width,
        "head_width": width / heads,
        "layers": tower.whole("num_hidden_layers", 12)?,
        "mlp_ratio": hidden_ratio(tower, width, 3072)?,
    }))
}

fn text_cfg(tower: &ConfigObject) -> Result<Value, ModelError> {
    let width = tower.whole("hidden_size", 512)?;
    let vocab_size = tower.whole("vocab_size", 49408)?;
    let end = tower.whole("eos_token_id", END_OF_TEXT)?;
    // Features are taken at the largest id of a text. In each of these cases that is its end.
    if end != LEGACY_END_OF_TEXT && end != END_OF_TEXT && end.checked_add(1) != Some(vocab_size) {
        return Err(tower.unsupported("eos_token_id", &Value::from(end)));
    }
    Ok(json!({
        "context_length": tower.whole("max_position_embeddings", 77)?,
        "vocab_size": vocab_size,
        "width": width,
        "heads": tower.whole("num_attention_heads", 8)?,
        "layers": tower.whole("num_hidden_layers", 12)?,
        "mlp_ratio": hidden_ratio(tower, width, 2048)?,
    }))
}

fn hidden_ratio(tower: &ConfigObject, width: u64, default: u64) -> Result<f64, ModelError> {
    let hidden = tower.whole("intermediate_size", default)?;
    let to_usize = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    Ok(mlp_ratio(to_usize(width), to_usize(hidden)))
}
