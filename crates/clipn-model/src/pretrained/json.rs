//! Configs of other programs, read with the place where they stand at hand for errors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::ModelError;

/// The largest config that is read; real ones have a few kilobytes.
const LARGEST: u64 = 4 << 20;

/// A JSON object: a whole config or a section of it.
pub(super) struct Object {
    /// The file, or where else it stands, as errors name it.
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
        file.take(LARGEST + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        Self::parse(path.display().to_string(), &text)
    }

    /// The object in a text.
    pub(super) fn parse(origin: String, text: &[u8]) -> Result<Self, ModelError> {
        let bad = |reason| {
            Err(ModelError::BadConfig {
                origin: origin.clone(),
                reason,
            })
        };
        if text.len() as u64 > LARGEST {
            return bad(format!("it is larger than {} MB", LARGEST >> 20));
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Self {
                origin,
                prefix: String::new(),
                map,
            }),
            Ok(_) => bad("it is not a JSON object".to_owned()),
            Err(error) => bad(format!("not valid JSON: {error}")),
        }
    }

    /// Where it stands.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// The value under a key; `null` is as good as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The object under a key; `None` where there is none.
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

    /// An empty section, for one that is not there.
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
                .ok_or_else(|| self.bad(key, value, "a whole number of zero or more")),
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

    /// One number for each channel.
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

    /// The error of a value that is not what it must be.
    pub(super) fn bad(&self, key: &str, value: &Value, expected: &str) -> ModelError {
        let reason = format!(
            "`{}{key}` is {}; it must be {expected}",
            self.prefix,
            brief(value)
        );
        ModelError::BadConfig {
            origin: self.origin.clone(),
            reason,
        }
    }

    /// The error of a value that asks for something that clipn does not have.
    pub(super) fn unsupported(&self, key: &str, value: &Value) -> ModelError {
        let what = format!("`{}{key}` = {}", self.prefix, brief(value));
        ModelError::UnsupportedConfig {
            origin: self.origin.clone(),
            what,
        }
    }
}

/// The value as JSON, the beginning of it where it is long.
pub(crate) fn brief(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Every number, text and flag of a value with the keys that lead to it.
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
