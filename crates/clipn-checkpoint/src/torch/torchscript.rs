//! Tensors of a TorchScript archive. Its object is a tree of modules, whose attributes are tensors,
//! submodules and settings. The code in the archive is never read.

use std::path::Path;

use indexmap::IndexMap;

use crate::budget::{Budget, Exhausted};
use crate::error::escape_for_display;
use crate::{CheckpointError, Tensor, Value};

/// Returns all tensors of the tree under the names that PyTorch's `state_dict` gives them
/// (`visual.conv1.weight`).
pub(crate) fn named_tensors(
    path: &Path,
    root: &Value,
    budget: &mut Budget,
) -> Result<IndexMap<String, Tensor>, CheckpointError> {
    let mut collector = Collector {
        path,
        budget,
        tensors: IndexMap::new(),
    };
    collector.module("", root)?;
    if collector.tensors.is_empty() {
        let found = format!("found {root} with no tensor in its module tree");
        return Err(CheckpointError::NoTensors {
            path: path.to_owned(),
            found,
        });
    }
    Ok(collector.tensors)
}

struct Collector<'a> {
    path: &'a Path,
    /// Charged for names: each repeats the names of its parent modules, so names alone could
    /// exhaust memory.
    budget: &'a mut Budget,
    tensors: IndexMap<String, Tensor>,
}

impl Collector<'_> {
    /// Collects the tensors of a module. Recursion is safe, as nesting is limited when the value is
    /// read.
    fn module(&mut self, prefix: &str, value: &Value) -> Result<(), CheckpointError> {
        let corrupt = |location: &str, reason: &str| CheckpointError::Corrupt {
            path: self.path.to_owned(),
            location: format!(
                "module {}",
                if location.is_empty() {
                    "<root>".to_owned()
                } else {
                    escape_for_display(location)
                }
            ),
            reason: reason.to_owned(),
        };
        let Some(attributes) = value.as_dict() else {
            return Err(corrupt(prefix, "not a module"));
        };
        for (key, value) in attributes {
            if !matches!(
                value,
                Value::Tensor(_) | Value::UnsupportedTensor(_) | Value::Dict(_)
            ) {
                continue;
            }
            let Some(key) = key.as_str() else {
                // A dictionary among the attributes, not a submodule.
                continue;
            };
            let length = prefix.len() + key.len() + 1;
            self.budget
                .charge_growing(length + size_of::<(String, Tensor)>())
                .map_err(|Exhausted| CheckpointError::TooLarge {
                    path: self.path.to_owned(),
                    item: "names of its modules".to_owned(),
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
                            &format!("duplicate name {}", escape_for_display(key)),
                        ));
                    }
                }
                Value::UnsupportedTensor(dtype) => {
                    return Err(CheckpointError::UnsupportedDtype {
                        path: self.path.to_owned(),
                        tensor: escape_for_display(&name),
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
    fn names_tensors_by_their_module_path() {
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
    fn rejects_archives_without_tensors_or_with_duplicate_names() {
        let message = |root: &Value| {
            named_tensors(Path::new("f"), root, &mut Budget::for_file(0))
                .unwrap_err()
                .to_string()
        };
        assert!(message(&module(&[("training", Value::Bool(true))])).contains("no tensor"));
        assert!(message(&module(&[("w", tensor()), ("w", tensor())])).contains("duplicate name"));
        assert!(
            message(&module(&[
                ("a.b", tensor()),
                ("a", module(&[("b", tensor())]))
            ]))
            .contains("duplicate name")
        );
        assert!(message(&Value::None).contains("not a module"));
    }

    #[test]
    fn long_names_cannot_exhaust_memory() {
        let long = "x".repeat(1 << 20);
        let mut root = module(&[("w", tensor())]);
        for _ in 0..90 {
            root = module(&[(&long, root)]);
        }
        let error = named_tensors(Path::new("f"), &root, &mut Budget::for_file(0)).unwrap_err();
        assert!(matches!(error, CheckpointError::TooLarge { .. }), "{error}");
    }
}
