//! JSON objects of configs. They know their origin and path, for error messages.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use clipn_checkpoint::escape_for_display;

use crate::config::{MAX_CONFIG_BYTES, MAX_LAYERS, MAX_SIZE};
use crate::error::ModelError;

/// Predicate for the values of a key that match what is computed anyway.
pub(crate) type Predicate<'a> = &'a dyn Fn(&Value) -> bool;

/// A JSON object: a whole config or a section of it.
#[derive(Debug)]
pub(crate) struct ConfigObject {
    /// The file or other location, for error messages.
    origin: String,
    /// Path of the section with a final dot; empty for a whole config.
    prefix: String,
    map: Map<String, Value>,
}

impl ConfigObject {
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::ReadConfig {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_CONFIG_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        Self::parse(path.display().to_string(), &text)
    }

    /// Parses an object.
    pub(crate) fn parse(origin: String, text: &[u8]) -> Result<Self, ModelError> {
        let bad = |reason| {
            Err(ModelError::BadConfig {
                origin: origin.clone(),
                reason,
            })
        };
        if text.len() as u64 > MAX_CONFIG_BYTES {
            return bad(format!(
                "size exceeds the limit of {} MB",
                MAX_CONFIG_BYTES >> 20
            ));
        }
        match serde_json::from_slice(text) {
            Ok(value) => Self::from_value(origin, value),
            Err(error) => bad(format!("not valid JSON: {error}")),
        }
    }

    /// Wraps a value that must be an object.
    pub(crate) fn from_value(origin: String, value: Value) -> Result<Self, ModelError> {
        match value {
            Value::Object(map) => Ok(Self {
                origin,
                prefix: String::new(),
                map,
            }),
            _ => Err(ModelError::BadConfig {
                origin,
                reason: "expected a JSON object".to_owned(),
            }),
        }
    }

    /// Returns the file or other location of the object.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// Returns the value of a key; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Returns the value of a key, `null` included.
    pub(crate) fn get_or_null(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Returns the object of a key, or `None` if it is absent.
    pub(crate) fn section(&self, key: &str) -> Result<Option<Self>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let prefix = format!("{}{key}.", self.prefix);
                Ok(Some(Self {
                    origin: self.origin.clone(),
                    prefix,
                    map: map.clone(),
                }))
            }
            Some(other) => Err(self.bad(key, other, "an object")),
        }
    }

    /// Returns the object of a key that an open_clip config must have.
    pub(crate) fn required_section(&self, key: &str) -> Result<Self, ModelError> {
        match self.get(key) {
            Some(Value::Object(_)) => Ok(self.section(key)?.unwrap_or_else(|| self.empty(key))),
            _ => Err(self.bad_config(format!(
                "missing object `{key}`; expected the keys embed_dim, vision_cfg and text_cfg"
            ))),
        }
    }

    /// Returns an empty section in place of an absent one.
    pub(crate) fn empty(&self, key: &str) -> Self {
        Self {
            origin: self.origin.clone(),
            prefix: format!("{}{key}.", self.prefix),
            map: Map::new(),
        }
    }

    pub(crate) fn whole(&self, key: &str, default: u64) -> Result<u64, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| self.bad(key, value, "a non-negative integer")),
        }
    }

    pub(crate) fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.bad(key, value, "a number")),
        }
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.bad(key, value, "true or false")),
        }
    }

    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_str()
                .ok_or_else(|| self.bad(key, value, "a string")),
        }
    }

    /// Returns one number per channel.
    pub(crate) fn channels(&self, key: &str, default: [f32; 3]) -> Result<[f32; 3], ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let numbers = value
            .as_array()
            .map(|values| values.iter().map(Value::as_f64).collect::<Vec<_>>());
        match numbers.as_deref() {
            Some(&[Some(r), Some(g), Some(b)]) => Ok([r as f32, g as f32, b as f32]),
            _ => Err(self.bad(key, value, "a list of three numbers")),
        }
    }

    /// Returns a size from 1 to [`MAX_SIZE`]; without a default the key must be present.
    pub(crate) fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match (self.get(key), default) {
            (Some(value), _) => self.size_from(key, value),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.bad_config(format!("missing key `{}`", self.path(key)))),
        }
    }

    fn size_from(&self, key: &str, value: &Value) -> Result<usize, ModelError> {
        match value.as_u64().and_then(|v| usize::try_from(v).ok()) {
            Some(size) if (1..=MAX_SIZE).contains(&size) => Ok(size),
            _ => Err(self.bad(key, value, &format!("an integer from 1 to {MAX_SIZE}"))),
        }
    }

    /// Returns a side in pixels: a number or two equal numbers.
    pub(crate) fn side(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        let Some(value @ Value::Array(sides)) = self.get(key) else {
            return self.size(key, Some(default));
        };
        match sides.as_slice() {
            [height, width] if height == width => self.size_from(key, height),
            _ => Err(self.unsupported(key, value)),
        }
    }

    /// Returns the number of blocks, `layers`.
    pub(crate) fn layers(&self) -> Result<usize, ModelError> {
        match self.size("layers", Some(12))? {
            layers if layers <= MAX_LAYERS => Ok(layers),
            layers => Err(self.bad_config(format!(
                "expected `{}` of at most {MAX_LAYERS}, got {layers}",
                self.path("layers")
            ))),
        }
    }

    /// Returns `int(width * mlp_ratio)`, as open_clip computes it.
    pub(crate) fn mlp_width(&self, width: usize) -> Result<usize, ModelError> {
        let ratio = match self.get("mlp_ratio") {
            None => 4.0,
            Some(value) => value.as_f64().unwrap_or(f64::NAN),
        };
        let mlp_width = (width as f64 * ratio) as usize;
        if (1..=MAX_SIZE).contains(&mlp_width) {
            Ok(mlp_width)
        } else {
            Err(self.bad_config(format!(
                "expected a positive number for `{}`",
                self.path("mlp_ratio")
            )))
        }
    }

    /// Rejects keys that could change the computation. Accepted are the keys in `read`, the keys in
    /// `ignored`, and those in `fixed` whose value matches what is computed anyway. `null` and
    /// `false` have no effect and are always accepted.
    pub(crate) fn check_keys(
        &self,
        read: &[&str],
        ignored: &[&str],
        fixed: &[(&str, Predicate<'_>)],
    ) -> Result<(), ModelError> {
        let is_accepted = |key: &str, value: &Value| {
            matches!(value, Value::Null | Value::Bool(false))
                || read.contains(&key)
                || ignored.contains(&key)
                || fixed
                    .iter()
                    .any(|(name, accepts)| *name == key && accepts(value))
        };
        match self
            .map
            .iter()
            .find(|(key, value)| !is_accepted(key, value))
        {
            Some((key, value)) => Err(self.unsupported(&escape_for_display(key), value)),
            None => Ok(()),
        }
    }

    /// Returns the path of a key, such as `vision_cfg.width`.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Creates the error of an invalid config.
    pub(crate) fn bad_config(&self, reason: String) -> ModelError {
        ModelError::BadConfig {
            origin: self.origin.clone(),
            reason,
        }
    }

    /// Creates the error of an invalid value.
    pub(crate) fn bad(&self, key: &str, value: &Value, expected: &str) -> ModelError {
        self.bad_config(format!(
            "expected `{}` to be {expected}, got {}",
            self.path(key),
            truncated_json(value)
        ))
    }

    /// Creates the error of a value that clipn does not support.
    pub(crate) fn unsupported(&self, key: &str, value: &Value) -> ModelError {
        self.unsupported_config(format!("`{}` = {}", self.path(key), truncated_json(value)))
    }

    /// Creates the error of a config that clipn does not support; `what` describes it.
    pub(crate) fn unsupported_config(&self, what: String) -> ModelError {
        ModelError::UnsupportedConfig {
            origin: self.origin.clone(),
            what,
        }
    }
}

/// Formats a value as JSON, truncated to 80 characters.
fn truncated_json(value: &Value) -> String {
    const MAX_CHARS: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
