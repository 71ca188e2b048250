//! Where the weights stand in a `.pt` file's object, and what their names are.

use std::path::Path;

use indexmap::IndexMap;

use super::error::shown;
use super::{CheckpointError, Tensor, Value};

/// Keys under which training programs put the weights, in the order they are looked for.
const NESTS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Prefixes that wrappers (DistributedDataParallel, torch.compile) put before every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// The tensors of a checkpoint by name, and everything beside them as text.
#[derive(Debug)]
pub(crate) struct StateDict {
    pub(crate) tensors: IndexMap<String, Tensor>,
    pub(crate) metadata: IndexMap<String, String>,
}

/// Finds the weights: a dictionary under one of [`NESTS`], else the object itself.
pub(crate) fn find(path: &Path, object: &Value) -> Result<StateDict, CheckpointError> {
    let no_tensors = |seen: String| CheckpointError::NoTensors {
        path: path.to_owned(),
        seen,
    };
    let Some(top) = object.as_dict() else {
        return Err(no_tensors(format!("it is {object}")));
    };
    let nest = NESTS.into_iter().find(|nest| {
        object
            .get(nest)
            .and_then(Value::as_dict)
            .is_some_and(holds_tensors)
    });
    let mut metadata = IndexMap::new();
    let entries = match nest {
        Some(nest) => {
            for (key, value) in top.iter().filter(|(key, _)| key.as_str() != Some(nest)) {
                metadata.insert(key.to_string(), text(value));
            }
            object
                .get(nest)
                .and_then(Value::as_dict)
                .unwrap_or_default()
        }
        None => top,
    };
    let mut tensors = IndexMap::new();
    for (key, value) in entries {
        match (key, value) {
            (Value::Str(name), Value::Tensor(tensor)) => {
                if tensors.insert(name.to_string(), tensor.clone()).is_some() {
                    let (place, what) = (
                        format!("tensor {}", shown(name)),
                        "the name stands twice".to_owned(),
                    );
                    return Err(CheckpointError::Corrupt {
                        path: path.to_owned(),
                        place,
                        what,
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
                let key = nest.map_or_else(|| key.to_string(), |nest| format!("{nest}.{key}"));
                metadata.insert(key, text(value));
            }
        }
    }
    if tensors.is_empty() {
        return Err(no_tensors(format!("it is {object}")));
    }
    Ok(StateDict { tensors, metadata })
}

fn holds_tensors(entries: &[(Value, Value)]) -> bool {
    entries
        .iter()
        .any(|(_, value)| matches!(value, Value::Tensor(_) | Value::UnsupportedTensor(_)))
}

/// Strings whole, everything else as its short line.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Takes wrappers' prefixes off the names, and returns what was taken. Only a prefix that every name has is a
/// wrapper's: a model may well have a part of its own called `module`.
pub(crate) fn strip_wrappers(
    tensors: IndexMap<String, Tensor>,
) -> (IndexMap<String, Tensor>, String) {
    let mut stripped = String::new();
    while let Some(wrapper) = WRAPPERS.into_iter().find(|wrapper| {
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
    fn the_weights_are_found_bare_or_nested() {
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
    fn what_stands_beside_the_weights_is_told_as_text() {
        let weights = dict(&[("w", Value::Tensor(tensor())), ("note", Value::Int(3))]);
        let object = dict(&[
            ("epoch", Value::Int(4)),
            ("name", Value::Str("it's ü".into())),
            ("state_dict", weights),
        ]);
        let found = find(Path::new("f"), &object).unwrap();
        let told: Vec<_> = found
            .metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            told,
            [("epoch", "4"), ("name", "it's ü"), ("state_dict.note", "3")]
        );
    }

    #[test]
    fn an_object_without_weights_is_described() {
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
    fn only_a_prefix_of_every_name_is_stripped() {
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
