//! open_clip's hub directories: `open_clip_config.json` with `model_cfg` and `preprocess_cfg`. A
//! safetensors file may contain the same JSON in its metadata.

use std::path::Path;

use clipn_checkpoint::{Checkpoint, WeightsFormat, escape_for_display};
use clipn_image::Preprocessing;
use serde_json::Value;

use crate::config::{ConfigObject, ModelConfig};
use crate::error::ModelError;
use crate::pretrained::{of_preprocessing, validated};

pub(crate) const CONFIG_FILE: &str = "open_clip_config.json";

/// File name of the weights, the first that open_clip looks for.
pub(crate) const WEIGHTS_FILE: &str = "open_clip_model.safetensors";

/// Metadata key of a safetensors file for the content of [`CONFIG_FILE`].
pub(crate) const CONFIG_KEY: &str = "open_clip_config";

/// Metadata key of a safetensors file for the name of the architecture.
pub(crate) const NAME_KEY: &str = "model";

/// Returns whether the weights are a safetensors file with its config in the metadata.
pub(super) fn has_embedded_config(checkpoint: &Checkpoint) -> bool {
    checkpoint.format() == WeightsFormat::Safetensors
        && checkpoint.metadata().contains_key(CONFIG_KEY)
}

/// Returns whether a config of open_clip belongs to the weights: they are those of its directory, or the
/// file itself is named and has the name under which open_clip stores them. A config beside another
/// file may describe other weights.
pub(super) fn has_config_beside(weights: &Path, source_path: &Path) -> bool {
    let has_own_name = weights
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("open_clip_"));
    (source_path.is_dir() || has_own_name) && weights.with_file_name(CONFIG_FILE).is_file()
}

/// Returns the config in a file's metadata.
pub(super) fn embedded_config(checkpoint: &Checkpoint) -> Result<ConfigObject, ModelError> {
    let text = checkpoint.metadata().get(CONFIG_KEY).unwrap_or_default();
    ConfigObject::parse(
        format!("in the metadata of {}", checkpoint.path().display()),
        text.as_bytes(),
    )
}

/// Returns the name of the architecture in a file with its config, by default the file's stem.
pub(super) fn embedded_name(checkpoint: &Checkpoint) -> String {
    let stem = || {
        checkpoint
            .path()
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    checkpoint
        .metadata()
        .get(NAME_KEY)
        .map_or_else(stem, escape_for_display)
}

/// Parses the architecture, with the given name.
pub(super) fn config(object: ConfigObject, name: &str) -> Result<ModelConfig, ModelError> {
    let origin = object.origin().to_owned();
    ModelConfig::from_value(name, &origin, &object.into_value())
}

/// Parses the preprocessing of images for a tower of `size`. The keys are those of open_clip's
/// `PreprocessCfg`; training augmentation (`aug_cfg`) is ignored.
pub(super) fn preprocessing(
    whole: &ConfigObject,
    size: usize,
) -> Result<Option<Preprocessing>, ModelError> {
    parse_preprocessing(whole, size).map_err(of_preprocessing)
}

fn parse_preprocessing(
    whole: &ConfigObject,
    size: usize,
) -> Result<Option<Preprocessing>, ModelError> {
    let Some(object) = whole.section("preprocess_cfg")? else {
        return Ok(None);
    };
    let own = Preprocessing::clip(size);
    for (key, only) in [
        ("mode", "RGB"),
        ("interpolation", "bicubic"),
        ("resize_mode", "shortest"),
    ] {
        if object.text(key, only)? != only {
            return Err(object.unsupported(key, &Value::from(object.text(key, only)?)));
        }
    }
    if let Some(value) = object.get("size") {
        let is_size = match value {
            Value::Array(sides) => {
                !sides.is_empty()
                    && sides.len() <= 2
                    && sides.iter().all(|side| side.as_u64() == Some(size as u64))
            }
            side => side.as_u64() == Some(size as u64),
        };
        if !is_size {
            return Err(object.bad(
                "size",
                value,
                &format!("the image tower's image_size {size}"),
            ));
        }
    }
    let (mean, std) = (
        object.channels("mean", own.mean)?,
        object.channels("std", own.std)?,
    );
    validated(whole.origin(), Preprocessing { mean, std, ..own }).map(Some)
}
