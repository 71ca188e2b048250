//! Training checkpoints of this project: `state.json` has the config under `model`.

use std::path::Path;

use crate::config::{ConfigObject, ModelConfig};
use crate::error::ModelError;

/// File name of the state of the training.
pub(super) const STATE_FILE: &str = "state.json";

/// File name of the weights in a training checkpoint.
const WEIGHTS_FILE: &str = "model.safetensors";

/// Returns whether the weights file at `path` belongs to a training checkpoint.
pub(super) fn is_training_checkpoint(path: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|name| name == WEIGHTS_FILE);
    is_named
        && ConfigObject::read(&path.with_file_name(STATE_FILE))
            .is_ok_and(|state| state.get("format").is_some() && state.get("model").is_some())
}

/// Reads the architecture from `state.json`.
pub(super) fn config(path: &Path) -> Result<ModelConfig, ModelError> {
    let object = ConfigObject::read(path)?;
    let bad = |reason: String| ModelError::BadConfig {
        origin: path.display().to_string(),
        reason,
    };
    let Some(model) = object.get("model") else {
        return Err(bad("missing key `model`".to_owned()));
    };
    let config: ModelConfig = serde_json::from_value(model.clone())
        .map_err(|error| bad(format!("invalid `model`: {error}")))?;
    config.validate(&path.display().to_string())?;
    Ok(config)
}
