//! Checkpoints of `clipn train`: `state.json` has the config under `model`.

use std::path::Path;

use super::json::Object;
use crate::{ModelConfig, ModelError};

pub(super) const STATE: &str = "state.json";

/// Name of the weights in such a checkpoint.
const WEIGHTS: &str = "model.safetensors";

/// Whether the weights file at `path` is one of a checkpoint of `clipn train`.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|name| name == WEIGHTS);
    is_named
        && Object::read(&path.with_file_name(STATE))
            .is_ok_and(|state| state.get("format").is_some() && state.get("model").is_some())
}

/// The architecture.
pub(super) fn config(path: &Path) -> Result<ModelConfig, ModelError> {
    let object = Object::read(path)?;
    let bad = |reason: String| ModelError::BadConfig {
        origin: path.display().to_string(),
        reason,
    };
    let Some(model) = object.get("model") else {
        return Err(bad(
            "it has no `model`; a checkpoint of `clipn train` has".to_owned()
        ));
    };
    let config: ModelConfig = serde_json::from_value(model.clone())
        .map_err(|error| bad(format!("`model` is no config: {error}")))?;
    config.check(&path.display().to_string())?;
    Ok(config)
}
