//! Conversion of the node arena of a pickle to a tree of values with tensors. Depth and size are
//! limited, because shared nodes are repeated in a tree, and a cycle would never end.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::StorageSource;
use super::strided;
use crate::budget::{Budget, Exhausted};
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::pickle::{Id, Node, Parsed, TensorSpec};
use crate::tensor::checked_len;
use crate::{CheckpointError, Tensor, Value};

/// Maximum nesting depth of containers; real checkpoints have about 6.
const MAX_DEPTH: usize = 100;

/// Converts the top-level object of the pickle.
pub(crate) fn build(
    path: &Path,
    parsed: &Parsed<'_>,
    storages: &mut dyn StorageSource,
    budget: &mut Budget,
) -> Result<Value, CheckpointError> {
    let texts = HashMap::new();
    let mut tree = Tree {
        path,
        parsed,
        storages,
        budget,
        texts,
        tensors: HashMap::new(),
        keys: Vec::new(),
    };
    tree.value(parsed.root)
}

struct Tree<'t, 'a> {
    path: &'t Path,
    parsed: &'t Parsed<'a>,
    storages: &'t mut dyn StorageSource,
    budget: &'t mut Budget,
    /// Strings already converted, by node, and tensors, by index.
    texts: HashMap<Id, Arc<str>>,
    tensors: HashMap<u32, Value>,
    /// Keys and indices on the path to the current value; their number is the depth.
    keys: Vec<Key>,
}

enum Key {
    Node(Id),
    Index(usize),
}

impl<'t> Tree<'t, '_> {
    fn value(&mut self, id: Id) -> Result<Value, CheckpointError> {
        self.charge_growing(size_of::<Value>())?;
        if self.keys.len() > MAX_DEPTH {
            return Err(self.corrupt(format!("values nested more than {MAX_DEPTH} levels deep")));
        }
        let parsed = self.parsed;
        Ok(match parsed.node(id) {
            Node::None => Value::None,
            &Node::Bool(value) => Value::Bool(value),
            &Node::Int(value) => Value::Int(value),
            Node::BigInt(digits) => {
                Value::Opaque(format!("an integer of {} bytes", digits.len()).into())
            }
            &Node::Float(value) => Value::Float(value),
            Node::Str(text) => Value::Str(self.text(id, text)?),
            Node::Bytes(bytes) => self.bytes(bytes)?,
            Node::OwnedBytes(bytes) => self.bytes(bytes)?,
            Node::List(items) => Value::List(self.items(items)?),
            Node::Tuple(items) => Value::Tuple(self.items(items)?),
            Node::Set(items) => Value::Set(self.items(items)?),
            Node::Dict(entries) | Node::Module(entries) => self.dict(entries)?,
            Node::Global(global) => Value::Opaque(format!("{global:?}").into()),
            Node::Storage(_) => Value::Opaque("a storage".into()),
            &Node::Tensor(index) => self.tensor(index)?,
            Node::NumpyDtype { kind, .. } => {
                Value::Opaque(format!("numpy.dtype({})", escape_for_display(kind)).into())
            }
            Node::Device { kind, index: None } => Value::Opaque(escape_for_display(kind).into()),
            Node::Device {
                kind,
                index: Some(index),
            } => Value::Opaque(format!("{}:{index}", escape_for_display(kind)).into()),
        })
    }

    fn text(&mut self, id: Id, text: &str) -> Result<Arc<str>, CheckpointError> {
        if let Some(made) = self.texts.get(&id) {
            return Ok(made.clone());
        }
        self.charge_growing(text.len() + size_of::<(Id, Arc<str>)>())?;
        let made: Arc<str> = text.into();
        self.texts.insert(id, made.clone());
        Ok(made)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Value, CheckpointError> {
        self.charge(bytes.len())?;
        Ok(Value::Bytes(bytes.into()))
    }

    fn items(&mut self, items: &[Id]) -> Result<Vec<Value>, CheckpointError> {
        let mut values = Vec::new();
        for (index, &item) in items.iter().enumerate() {
            values.push(self.value_under(Key::Index(index), item)?);
        }
        Ok(values)
    }

    fn dict(&mut self, entries: &[(Id, Id)]) -> Result<Value, CheckpointError> {
        let mut values = Vec::new();
        for &(key, value) in entries {
            let value = self.value_under(Key::Node(key), value)?;
            values.push((self.value_under(Key::Node(key), key)?, value));
        }
        Ok(Value::Dict(values))
    }

    fn value_under(&mut self, key: Key, id: Id) -> Result<Value, CheckpointError> {
        self.keys.push(key);
        let value = self.value(id)?;
        self.keys.pop();
        Ok(value)
    }

    fn tensor(&mut self, index: u32) -> Result<Value, CheckpointError> {
        if let Some(made) = self.tensors.get(&index) {
            return Ok(made.clone());
        }
        let spec = &self.parsed.tensors[index as usize];
        let value = match spec.ty.dtype {
            Some(dtype) => {
                let (bytes, range, contiguous) = self.elements(spec)?;
                let shape = contiguous.shape.to_vec();
                let tensor = Tensor::from_range(dtype, shape, &bytes, range);
                Value::Tensor(
                    tensor.ok_or_else(|| self.corrupt("tensor size differs from its data"))?,
                )
            }
            None => Value::UnsupportedTensor(spec.ty.name),
        };
        self.charge_growing(
            size_of::<(String, Tensor)>() + size_of_val(&*spec.shape) + size_of::<Value>(),
        )?;
        self.tensors.insert(index, value.clone());
        Ok(value)
    }

    /// Returns the contiguous bytes of a view: those of its storage if they are contiguous already,
    /// else a copy.
    fn elements(
        &mut self,
        spec: &'t TensorSpec,
    ) -> Result<(FileBytes, std::ops::Range<usize>, &'t TensorSpec), CheckpointError> {
        let size = spec.ty.size;
        let storage = &self.parsed.storages[spec.storage as usize];
        let (bytes, range) = self.storages.storage(storage, self.budget)?;
        let len = checked_len(&spec.shape, size).ok_or_else(|| {
            self.corrupt(format!("shape {:?} exceeds the address space", spec.shape))
        })?;
        if len == 0 {
            return Ok((bytes, range.start..range.start, spec));
        }
        let have = range.len() / size;
        if strided::extent(spec).is_none_or(|end| end > have) {
            return Err(self.corrupt(format!(
                "tensor of shape {:?}, strides {:?} and offset {} is out of bounds of a storage of \
                 {have} elements",
                spec.shape, spec.strides, spec.offset
            )));
        }
        // The view is in bounds, so neither product below overflows.
        if strided::is_contiguous(spec) {
            let start = range.start + spec.offset * size;
            return Ok((bytes, start..start + len * size, spec));
        }
        self.charge(len * size)?;
        let copy = strided::gather(&bytes.as_slice()[range], spec, size, len);
        Ok((FileBytes::from(copy), 0..len * size, spec))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), CheckpointError> {
        self.budget
            .charge(bytes)
            .map_err(|Exhausted| self.too_large())
    }

    fn charge_growing(&mut self, bytes: usize) -> Result<(), CheckpointError> {
        self.budget
            .charge_growing(bytes)
            .map_err(|Exhausted| self.too_large())
    }

    fn too_large(&self) -> CheckpointError {
        CheckpointError::TooLarge {
            path: self.path.to_owned(),
            item: format!("value at {}", self.path_to_value()),
        }
    }

    fn corrupt(&self, reason: impl Into<String>) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            location: self.path_to_value(),
            reason: reason.into(),
        }
    }

    /// Returns the path of keys to the current value, truncated to the first 6.
    fn path_to_value(&self) -> String {
        const MAX_KEYS: usize = 6;
        let names = self.keys.iter().take(MAX_KEYS).map(|key| match key {
            Key::Index(index) => format!("[{index}]"),
            &Key::Node(id) => match self.parsed.node(id) {
                Node::Str(text) => escape_for_display(text),
                Node::Int(value) => format!("[{value}]"),
                other => other.kind().to_owned(),
            },
        });
        let names: Vec<String> = names.collect();
        match names.is_empty() {
            true => "the top level of the pickle".to_owned(),
            false => names.join(" / "),
        }
    }
}
