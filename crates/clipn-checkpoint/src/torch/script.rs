//! The tensors of a TorchScript archive: its object is a tree of modules, whose attributes are tensors, further modules
//! and settings. The program in the archive is never read.

use std::path::Path;

use indexmap::IndexMap;

use crate::budget::{Budget, Exhausted};
use crate::error::shown;
use crate::{CheckpointError, Tensor, Value};

/// Every tensor of the tree by the path that leads to it, as PyTorch's `state_dict` names it (`visual.conv1.weight`).
pub(crate) fn named_tensors(
    path: &Path,
    root: &Value,
    budget: &mut Budget,
) -> Result<IndexMap<String, Tensor>, CheckpointError> {
    let mut flat = Flat {
        path,
        budget,
        tensors: IndexMap::new(),
    };
    flat.module("", root)?;
    if flat.tensors.is_empty() {
        let seen = format!("its program has {root}, and no tensor among it");
        return Err(CheckpointError::NoTensors {
            path: path.to_owned(),
            seen,
        });
    }
    Ok(flat.tensors)
}

struct Flat<'a> {
    path: &'a Path,
    /// A name repeats the names of the modules around it, so names alone could fill the memory.
    budget: &'a mut Budget,
    tensors: IndexMap<String, Tensor>,
}

impl Flat<'_> {
    /// Nesting was limited when the value was read.
    fn module(&mut self, prefix: &str, value: &Value) -> Result<(), CheckpointError> {
        let corrupt = |place: &str, what: &str| CheckpointError::Corrupt {
            path: self.path.to_owned(),
            place: format!(
                "the module {}",
                if place.is_empty() {
                    "at the top".to_owned()
                } else {
                    shown(place)
                }
            ),
            what: what.to_owned(),
        };
        let Some(attributes) = value.as_dict() else {
            return Err(corrupt(prefix, "it is not a module"));
        };
        for (key, value) in attributes {
            if !matches!(
                value,
                Value::Tensor(_) | Value::UnsupportedTensor(_) | Value::Dict(_)
            ) {
                continue;
            }
            let Some(key) = key.as_str() else {
                // A dictionary that a module keeps, not a module.
                continue;
            };
            let length = prefix.len() + key.len() + 1;
            self.budget
                .charge_growing(length + size_of::<(String, Tensor)>())
                .map_err(|Exhausted| CheckpointError::TooLarge {
                    path: self.path.to_owned(),
                    what: "the names of its modules".to_owned(),
                })?;
            let name = if prefix.is_empty() {
                key.to_owned()
            } else {
                format!("{prefix}.{key}")
            };
            match value {
                Value::Tensor(tensor) => {
                    if self.tensors.insert(name, tensor.clone()).is_some() {
                        return Err(corrupt(
                            prefix,
                            &format!("the name {} stands twice", shown(key)),
                        ));
                    }
                }
                Value::UnsupportedTensor(dtype) => {
                    return Err(CheckpointError::UnsupportedDtype {
                        path: self.path.to_owned(),
                        tensor: shown(&name),
                        dtype: (*dtype).to_owned(),
                    });
                }
                module => self.module(&name, module)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(attributes: &[(&str, Value)]) -> Value {
        Value::Dict(
            attributes
                .iter()
                .map(|(key, value)| (Value::Str((*key).into()), value.clone()))
                .collect(),
        )
    }

    fn tensor() -> Value {
        Value::Tensor(Tensor::from_f32(&[1], vec![1.0]).unwrap())
    }

    #[test]
    fn names_are_the_paths_to_the_tensors() {
        let inner = module(&[("weight", tensor()), ("training", Value::Bool(false))]);
        let root = module(&[
            ("scale", tensor()),
            ("a", module(&[("0", inner)])),
            ("empty", module(&[])),
        ]);
        let found = named_tensors(Path::new("f"), &root, &mut Budget::for_file(0)).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["scale", "a.0.weight"]);
    }

    #[test]
    fn an_archive_without_tensors_or_with_names_twice_is_refused() {
        let refused = |root: &Value| {
            named_tensors(Path::new("f"), root, &mut Budget::for_file(0))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&module(&[("training", Value::Bool(true))])).contains("no tensor"));
        assert!(refused(&module(&[("w", tensor()), ("w", tensor())])).contains("stands twice"));
        assert!(
            refused(&module(&[
                ("a.b", tensor()),
                ("a", module(&[("b", tensor())]))
            ]))
            .contains("stands twice")
        );
        assert!(refused(&Value::None).contains("not a module"));
    }

    #[test]
    fn long_names_cannot_fill_the_memory() {
        let long = "x".repeat(1 << 20);
        let mut root = module(&[("w", tensor())]);
        for _ in 0..90 {
            root = module(&[(&long, root)]);
        }
        let error = named_tensors(Path::new("f"), &root, &mut Budget::for_file(0)).unwrap_err();
        assert!(matches!(error, CheckpointError::TooLarge { .. }), "{error}");
    }
}
