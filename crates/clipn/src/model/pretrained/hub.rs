//! open_clip's hub folders: `open_clip_config.json` with `model_cfg` and `preprocess_cfg`.

use std::path::Path;

use serde_json::Value;

use super::folder_name;
use super::json::Object;
use super::preprocessing::checked;
use crate::image::Preprocessing;
use crate::model::{ModelConfig, ModelError};

pub(super) const CONFIG: &str = "open_clip_config.json";

/// The architecture.
pub(super) fn config(path: &Path) -> Result<ModelConfig, ModelError> {
    let object = Object::read(path)?;
    ModelConfig::from_value(&folder_name(path), &path.display().to_string(), &object.into_value())
}

/// The preprocessing, of pictures for a tower of `size`. Keys and what they mean are those of open_clip's
/// `PreprocessCfg`; training augmentation (`aug_cfg`) is none of it.
pub(super) fn preprocessing(path: &Path, size: usize) -> Result<Option<Preprocessing>, ModelError> {
    let Some(object) = Object::read(path)?.section("preprocess_cfg")? else { return Ok(None) };
    let own = Preprocessing::clip(size);
    for (key, only) in [("mode", "RGB"), ("interpolation", "bicubic"), ("resize_mode", "shortest")] {
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
            return Err(object.bad("size", value, &format!("the image tower's image_size, {size}")));
        }
    }
    let (mean, std) = (object.channels("mean", own.mean)?, object.channels("std", own.std)?);
    checked(path, Preprocessing { mean, std, ..own }).map(Some)
}
