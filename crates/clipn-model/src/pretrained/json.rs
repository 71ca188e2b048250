//! Configs of other programs as JSON objects that know their origin, for error messages.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::ModelError;

/// Maximum size of a config in bytes; real ones have a few kilobytes.
const MAX_BYTES: u64 = 4 << 20;

/// A JSON object: a whole config or a section of it.
pub(super) struct Object {
    /// The file or other location, for error messages.
    origin: String,
    prefix: String,
    map: Map<String, Value>,
}

impl Object {
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::ReadConfig {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        Self::parse(path.display().to_string(), &text)
    }

    /// Parses an object.
    pub(super) fn parse(origin: String, text: &[u8]) -> Result<Self, ModelError> {
        let bad = |reason| {
            Err(ModelError::BadConfig {
                origin: origin.clone(),
                reason,
            })
        };
        if text.len() as u64 > MAX_BYTES {
            return bad(format!("size exceeds the limit of {} MB", MAX_BYTES >> 20));
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Self {
                origin,
                prefix: String::new(),
                map,
            }),
            Ok(_) => bad("expected a JSON object".to_owned()),
            Err(error) => bad(format!("not valid JSON: {error}")),
        }
    }

    /// Returns the file or other location of the object.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// Returns the value of a key; `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Returns the object of a key, or `None` if it is absent.
    pub(super) fn section(&self, key: &str) -> Result<Option<Self>, ModelError> {
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

    /// Returns an empty section in place of an absent one.
    pub(super) fn empty(&self, key: &str) -> Self {
        Self {
            origin: self.origin.clone(),
            prefix: format!("{}{key}.", self.prefix),
            map: Map::new(),
        }
    }

    pub(super) fn whole(&self, key: &str, default: u64) -> Result<u64, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| self.bad(key, value, "a non-negative integer")),
        }
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.bad(key, value, "a number")),
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.bad(key, value, "true or false")),
        }
    }

    pub(super) fn text<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_str()
                .ok_or_else(|| self.bad(key, value, "a string")),
        }
    }

    /// Returns one number per channel.
    pub(super) fn channels(&self, key: &str, default: [f32; 3]) -> Result<[f32; 3], ModelError> {
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

    /// Creates the error of an invalid value.
    pub(super) fn bad(&self, key: &str, value: &Value, expected: &str) -> ModelError {
        let reason = format!(
            "expected `{}{key}` to be {expected}, got {}",
            self.prefix,
            brief(value)
        );
        ModelError::BadConfig {
            origin: self.origin.clone(),
            reason,
        }
    }

    /// Creates the error of a value that clipn does not support.
    pub(super) fn unsupported(&self, key: &str, value: &Value) -> ModelError {
        let what = format!("`{}{key}` = {}", self.prefix, brief(value));
        ModelError::UnsupportedConfig {
            origin: self.origin.clone(),
            what,
        }
    }
}

/// Formats a value as JSON, truncated to 80 characters.
pub(crate) fn brief(value: &Value) -> String {
    const MAX_CHARS: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Collects every leaf of a value with its dotted path.
pub(super) fn leaves(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(&path, value, found);
            }
        }
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        other => found.push((path.to_owned(), other.to_string())),
    }
}
