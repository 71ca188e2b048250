//! Image processors of `transformers`: `processor_config.json` of version 5, under the key
//! `image_processor`, and `preprocessor_config.json` of the versions before it.
//!
//! Version 5 reads the older file only if the newer one is absent or has no image processor
//! (`ImageProcessingMixin.get_image_processor_dict` of 5.24.0). Version 4.57 does the reverse, and
//! versions before it read the older file only.

use std::path::{Path, PathBuf};

use clipn_image::Preprocessing;
use serde_json::{Map, Value, json};

use crate::config::ConfigObject;
use crate::error::ModelError;
use crate::pretrained::{is_there, of_preprocessing, validated};

/// File name of the preprocessing in version 5.
pub(crate) const PROCESSOR_FILE: &str = "processor_config.json";

/// Key of the image processor in [`PROCESSOR_FILE`].
const SECTION: &str = "image_processor";

/// File name of the preprocessing before version 5.
pub(crate) const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// Pillow's constant for the bicubic filter.
const BICUBIC: u64 = 3;

/// Image processors with the keys, defaults and steps of CLIP's. The second is that of version 4
/// with tensors, the third that of version 5 without torchvision; the last is the name of old
/// versions.
const CLIP_TYPES: [&str; 4] = [
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
];

/// Image processor that applies to a directory, and the one that it overrides.
#[derive(Debug, Default)]
pub(super) struct ImageProcessorConfigs {
    current: Option<ConfigObject>,
    overridden: Option<PathBuf>,
}

impl ImageProcessorConfigs {
    /// Finds the image processor of `directory`.
    ///
    /// # Errors
    /// [`ModelError::ReadConfig`] and [`ModelError::BadConfig`] if a file cannot be read.
    pub(super) fn find(directory: &Path) -> Result<Self, ModelError> {
        let path = |name| Some(directory.join(name)).filter(|path| is_there(path));
        let legacy = path(PREPROCESSOR_FILE);
        let current = match path(PROCESSOR_FILE) {
            // Older files of this name are those of a tokenizer and have no image processor.
            Some(path) => ConfigObject::read(&path)?.section(SECTION)?,
            None => None,
        };
        Ok(match (current, legacy) {
            (Some(current), overridden) => Self {
                current: Some(current),
                overridden,
            },
            (None, Some(path)) => Self {
                current: Some(ConfigObject::read(&path)?),
                overridden: None,
            },
            (None, None) => Self::default(),
        })
    }

    /// Parses the preprocessing for a tower of `size`; `None` if there is no image processor.
    ///
    /// # Errors
    /// Those of [`preprocessing`].
    pub(super) fn preprocessing(&self, size: usize) -> Result<Option<Preprocessing>, ModelError> {
        self.current
            .as_ref()
            .map(|object| preprocessing(object, size))
            .transpose()
    }

    /// Returns the older file, if it requests other pixels for a tower of `size` than the newer one
    /// that overrides it.
    pub(super) fn differing(self, size: usize) -> Option<PathBuf> {
        let overridden = self.overridden?;
        let current = preprocessing(&self.current?, size).ok()?;
        let older = ConfigObject::read(&overridden).and_then(|object| preprocessing(&object, size));
        older
            .map_or(true, |older| older != current)
            .then_some(overridden)
    }
}

/// Parses the preprocessing for a tower of `size`, with the keys and defaults of
/// `CLIPImageProcessor`.
///
/// # Errors
/// [`ModelError::BadConfig`] if a value is invalid, [`ModelError::UnsupportedPreprocessing`] if a
/// step differs from CLIP's.
fn preprocessing(object: &ConfigObject, size: usize) -> Result<Preprocessing, ModelError> {
    parse(object, size).map_err(of_preprocessing)
}

fn parse(object: &ConfigObject, size: usize) -> Result<Preprocessing, ModelError> {
    for key in ["image_processor_type", "feature_extractor_type"] {
        let kind = object.text(key, CLIP_TYPES[0])?;
        if !CLIP_TYPES.contains(&kind) {
            return Err(object.unsupported(key, &Value::from(kind)));
        }
        // The older key stays in files of newer versions, which ignore it.
        if object.get(key).is_some() {
            break;
        }
    }
    for step in ["do_resize", "do_center_crop", "do_rescale", "do_normalize"] {
        if !object.flag(step, true)? {
            return Err(object.unsupported(step, &Value::from(false)));
        }
    }
    for step in ["do_pad", "use_square_size"] {
        if object.flag(step, false)? {
            return Err(object.unsupported(step, &Value::from(true)));
        }
    }
    let resample = object.whole("resample", BICUBIC)?;
    if resample != BICUBIC {
        let named = format!("{resample}{}", filter_name(resample));
        return Err(object.unsupported_config(format!("`{}` = {named}", object.path("resample"))));
    }
    let factor = object.number("rescale_factor", 1.0 / 255.0)?;
    if (factor * 255.0 - 1.0).abs() > 1e-6 {
        return Err(object.unsupported("rescale_factor", &Value::from(factor)));
    }
    check_size(object, "size", &["shortest_edge"], size)?;
    check_size(object, "crop_size", &["height", "width"], size)?;
    let own = Preprocessing::clip(size);
    let (mean, std) = (
        object.channels("image_mean", own.mean)?,
        object.channels("image_std", own.std)?,
    );
    validated(object.origin(), Preprocessing { mean, std, ..own })
}

/// Name of a filter by Pillow's constant, in parentheses; empty if there is none.
fn filter_name(resample: u64) -> &'static str {
    match resample {
        0 => " (nearest)",
        1 => " (Lanczos)",
        2 => " (bilinear)",
        4 => " (box)",
        5 => " (Hamming)",
        _ => "",
    }
}

/// Checks that a size, a number or an object with exactly the keys `sides`, equals the tower's.
fn check_size(
    object: &ConfigObject,
    key: &str,
    sides: &[&str],
    size: usize,
) -> Result<(), ModelError> {
    let Some(value) = object.get(key) else {
        // The default of `CLIPImageProcessor`.
        return if size == 224 {
            Ok(())
        } else {
            Err(object.bad(
                key,
                &Value::from(224),
                &format!("the image tower's image_size {size}"),
            ))
        };
    };
    let is_size = |value: &Value| value.as_u64() == Some(size as u64);
    let given = value.as_object().map(without_null);
    match given {
        Some(map)
            if map.len() != sides.len() || sides.iter().any(|side| !map.contains_key(*side)) =>
        {
            Err(object.unsupported(key, value))
        }
        Some(map) if map.values().all(is_size) => Ok(()),
        None if is_size(value) => Ok(()),
        _ => Err(object.bad(key, value, &format!("the image tower's image_size {size}"))),
    }
}

/// The sides that are given: version 5 may write the others as `null`.
fn without_null(map: &Map<String, Value>) -> Map<String, Value> {
    let mut map = map.clone();
    map.retain(|_, value| !value.is_null());
    map
}

/// Returns the content of [`PREPROCESSOR_FILE`].
pub(crate) fn to_preprocessor_config(pixels: &Preprocessing) -> Value {
    let size = pixels.size;
    json!({
        "image_processor_type": CLIP_TYPES[0],
        "do_convert_rgb": true,
        "do_resize": true,
        "size": { "shortest_edge": size },
        "resample": BICUBIC,
        "do_center_crop": true,
        "crop_size": { "height": size, "width": size },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": pixels.mean.map(decimal),
        "image_std": pixels.std.map(decimal),
    })
}

/// Returns the content of [`PROCESSOR_FILE`].
pub(crate) fn to_processor_config(pixels: &Preprocessing) -> Value {
    json!({
        SECTION: to_preprocessor_config(pixels),
        "processor_class": "CLIPProcessor",
    })
}

/// Returns the shortest decimal that rounds to this `f32`.
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}
