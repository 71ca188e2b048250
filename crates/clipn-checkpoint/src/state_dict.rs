//! Search for the weights in the top-level object of a `.pt` file, and normalization of their
//! names.

use std::path::Path;

use indexmap::IndexMap;

use crate::error::escape_for_display;
use crate::{CheckpointError, Tensor, Value};

/// Keys under which training programs store the weights, in search order.
pub(crate) const STATE_DICT_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// Prefixes that wrappers (DistributedDataParallel, torch.compile) add to every name.
const WRAPPER_PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Tensors of a checkpoint by name, and everything else as text.
#[derive(Debug)]
pub(crate) struct StateDict {
    pub(crate) tensors: IndexMap<String, Tensor>,
    pub(crate) metadata: IndexMap<String, String>,
}

/// Name of a tensor that is the whole object.
const TENSOR: &str = "tensor";

/// Takes a tensor that was saved by itself, without a dictionary.
pub(crate) fn of_tensor(tensor: &Tensor) -> StateDict {
    StateDict {
        tensors: IndexMap::from([(TENSOR.to_owned(), tensor.clone())]),
        metadata: IndexMap::new(),
    }
}

/// Finds the weights: a dictionary of tensors under one of [`STATE_DICT_KEYS`], else the object
/// itself.
pub(crate) fn find(path: &Path, object: &Value) -> Result<StateDict, CheckpointError> {
    let outer_key = STATE_DICT_KEYS.into_iter().find(|outer_key| {
        object
            .get(outer_key)
            .and_then(Value::as_dict)
            .is_some_and(holds_tensors)
    });
    at(path, object, outer_key.as_slice())
}

/// Takes the tensors of the dictionary under nested keys, or of the object itself without keys.
/// Everything else in the dictionaries on the way becomes metadata.
pub(crate) fn at(path: &Path, object: &Value, keys: &[&str]) -> Result<StateDict, CheckpointError> {
    let no_tensors = |found: String| CheckpointError::NoTensors {
        path: path.to_owned(),
        found,
    };
    let mut metadata = IndexMap::new();
    let mut outer = String::new();
    let mut dict = object;
    for inner_key in keys {
        for (key, value) in dict.as_dict().unwrap_or_default() {
            if key.as_str() != Some(inner_key) {
                metadata.insert(format!("{outer}{key}"), text(value));
            }
        }
        outer = format!("{outer}{inner_key}.");
        dict = dict.get(inner_key).unwrap_or(&Value::None);
    }
    let Some(entries) = dict.as_dict() else {
        return Err(no_tensors(format!("found {object}")));
    };
    let mut tensors = IndexMap::new();
    for (key, value) in entries {
        match (key, value) {
            (Value::Str(name), Value::Tensor(tensor)) => {
                if tensors.insert(name.to_string(), tensor.clone()).is_some() {
                    let (location, reason) = (
                        format!("tensor {}", escape_for_display(name)),
                        "duplicate name".to_owned(),
                    );
                    return Err(CheckpointError::Corrupt {
                        path: path.to_owned(),
                        location,
                        reason,
                    });
                }
            }
            (key, Value::UnsupportedTensor(dtype)) => {
                return Err(CheckpointError::UnsupportedDtype {
                    path: path.to_owned(),
                    tensor: key.to_string(),
                    dtype: (*dtype).to_owned(),
                });
            }
            (key, value) => {
                metadata.insert(format!("{outer}{key}"), text(value));
            }
        }
    }
    if tensors.is_empty() {
        return Err(no_tensors(format!("found {object}")));
    }
    Ok(StateDict { tensors, metadata })
}

fn holds_tensors(entries: &[(Value, Value)]) -> bool {
    entries
        .iter()
        .any(|(_, value)| matches!(value, Value::Tensor(_) | Value::UnsupportedTensor(_)))
}

/// Formats a value as metadata: strings in full, everything else as one short line.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Strips wrapper prefixes from the names, and returns the stripped prefix. Only a prefix that all
/// names have comes from a wrapper: a model may have a submodule called `module`.
pub(crate) fn strip_wrappers(
    tensors: IndexMap<String, Tensor>,
) -> (IndexMap<String, Tensor>, String) {
    let mut stripped = String::new();
    while let Some(wrapper) = WRAPPER_PREFIXES.into_iter().find(|wrapper| {
        let prefix = format!("{stripped}{wrapper}");
        !tensors.is_empty()
            && tensors
                .keys()
                .all(|name| name.len() > prefix.len() && name.starts_with(&prefix))
    }) {
        stripped.push_str(wrapper);
    }
    let tensors = tensors
        .into_iter()
        .map(|(name, tensor)| (name[stripped.len()..].to_owned(), tensor))
        .collect();
    (tensors, stripped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor() -> Tensor {
        Tensor::from_f32(&[1], vec![1.0]).unwrap()
    }

    fn dict(entries: &[(&str, Value)]) -> Value {
        Value::Dict(
            entries
                .iter()
                .map(|(key, value)| (Value::Str((*key).into()), value.clone()))
                .collect(),
        )
    }

    fn named(names: &[&str]) -> IndexMap<String, Tensor> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), tensor()))
            .collect()
    }

    #[test]
    fn finds_top_level_and_nested_weights() {
        let weights = dict(&[("w", Value::Tensor(tensor())), ("note", Value::Int(3))]);
        for object in [
            weights.clone(),
            dict(&[("state_dict", weights.clone()), ("epoch", Value::Int(4))]),
            dict(&[("model_state_dict", weights.clone())]),
            dict(&[("state_dict", dict(&[])), ("model", weights)]),
        ] {
            let found = find(Path::new("f"), &object).unwrap();
            assert_eq!(found.tensors.keys().collect::<Vec<_>>(), ["w"]);
        }
    }

    #[test]
    fn other_values_become_metadata_text() {
        let weights = dict(&[("w", Value::Tensor(tensor())), ("note", Value::Int(3))]);
        let object = dict(&[
            ("epoch", Value::Int(4)),
            ("name", Value::Str("it's ü".into())),
            ("state_dict", weights),
        ]);
        let found = find(Path::new("f"), &object).unwrap();
        let metadata: Vec<_> = found
            .metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            metadata,
            [("epoch", "4"), ("name", "it's ü"), ("state_dict.note", "3")]
        );
    }

    #[test]
    fn describes_an_object_without_weights() {
        let error = find(Path::new("f"), &dict(&[("epoch", Value::Int(4))]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("a dictionary of 1: epoch"), "{error}");
        assert!(
            find(Path::new("f"), &Value::List(vec![]))
                .unwrap_err()
                .to_string()
                .contains("a list of 0")
        );
    }

    #[test]
    fn strips_only_a_prefix_that_all_names_have() {
        let stripped = |names: &[&str]| {
            let (tensors, prefix) = strip_wrappers(named(names));
            (tensors.into_keys().collect::<Vec<_>>().join(" "), prefix)
        };
        let pair = |names: &str, prefix: &str| (names.to_owned(), prefix.to_owned());
        assert_eq!(
            stripped(&["module.a", "module.module.b"]),
            pair("a module.b", "module.")
        );
        assert_eq!(stripped(&["module.a", "b"]), pair("module.a b", ""));
        assert_eq!(
            stripped(&["module._orig_mod.a"]),
            pair("a", "module._orig_mod.")
        );
        assert_eq!(stripped(&["module."]), pair("module.", ""));
    }
}
