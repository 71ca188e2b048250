//! From the pickle's arena of nodes to a tree of values with real tensors, with limits on depth and size: shared
//! nodes are repeated in a tree, and a circle would never end.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Storages;
use super::strided;
use crate::budget::{Budget, Exhausted};
use crate::buffer::Bytes;
use crate::error::shown;
use crate::pickle::{Id, Node, Parsed, TensorSpec};
use crate::tensor::checked_len;
use crate::{CheckpointError, Tensor, Value};

/// Containers within containers; real checkpoints have about six.
const DEEPEST: usize = 100;

/// The pickle's object as a value.
pub(crate) fn build(
    path: &Path,
    parsed: &Parsed<'_>,
    storages: &mut dyn Storages,
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
    storages: &'t mut dyn Storages,
    budget: &'t mut Budget,
    /// Texts and tensors already made, by node.
    texts: HashMap<Id, Arc<str>>,
    tensors: HashMap<u32, Value>,
    /// The keys and indices that lead to the value at hand; their number is the depth.
    keys: Vec<Key>,
}

enum Key {
    Node(Id),
    Index(usize),
}

impl<'t> Tree<'t, '_> {
    fn value(&mut self, id: Id) -> Result<Value, CheckpointError> {
        self.charge_growing(size_of::<Value>())?;
        if self.keys.len() > DEEPEST {
            return Err(self.corrupt(format!("values nested more than {DEEPEST} deep")));
        }
        let parsed = self.parsed;
        Ok(match parsed.node(id) {
            Node::None => Value::None,
            &Node::Bool(value) => Value::Bool(value),
            &Node::Int(value) => Value::Int(value),
            Node::BigInt(digits) => {
                Value::Other(format!("an integer of {} bytes", digits.len()).into())
            }
            &Node::Float(value) => Value::Float(value),
            Node::Str(text) => Value::Str(self.text(id, text)?),
            Node::Bytes(bytes) => self.bytes(bytes)?,
            Node::OwnedBytes(bytes) => self.bytes(bytes)?,
            Node::List(items) => Value::List(self.items(items)?),
            Node::Tuple(items) => Value::Tuple(self.items(items)?),
            Node::Set(items) => Value::Set(self.items(items)?),
            Node::Dict(entries) | Node::Module(entries) => self.dict(entries)?,
            Node::Global(global) => Value::Other(format!("{global:?}").into()),
            Node::Storage(_) => Value::Other("a storage".into()),
            &Node::Tensor(index) => self.tensor(index)?,
            Node::NumpyDtype { kind, .. } => {
                Value::Other(format!("numpy.dtype({})", shown(kind)).into())
            }
            Node::Device { kind, index: None } => Value::Other(shown(kind).into()),
            Node::Device {
                kind,
                index: Some(index),
            } => Value::Other(format!("{}:{index}", shown(kind)).into()),
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
            values.push(self.below(Key::Index(index), item)?);
        }
        Ok(values)
    }

    fn dict(&mut self, entries: &[(Id, Id)]) -> Result<Value, CheckpointError> {
        let mut values = Vec::new();
        for &(key, value) in entries {
            let value = self.below(Key::Node(key), value)?;
            values.push((self.below(Key::Node(key), key)?, value));
        }
        Ok(Value::Dict(values))
    }

    fn below(&mut self, key: Key, id: Id) -> Result<Value, CheckpointError> {
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
                let tensor = Tensor::over(dtype, shape, &bytes, range);
                Value::Tensor(
                    tensor
                        .ok_or_else(|| self.corrupt("a tensor of another size than its bytes"))?,
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

    /// The contiguous bytes of a view: those of its storage where they are so already, else a copy.
    fn elements(
        &mut self,
        spec: &'t TensorSpec,
    ) -> Result<(Bytes, std::ops::Range<usize>, &'t TensorSpec), CheckpointError> {
        let size = spec.ty.size;
        let storage = &self.parsed.storages[spec.storage as usize];
        let (bytes, range) = self.storages.find(storage, self.budget)?;
        let len = checked_len(&spec.shape, size).ok_or_else(|| {
            self.corrupt(format!("the shape {:?}, which no memory holds", spec.shape))
        })?;
        if len == 0 {
            return Ok((bytes, range.start..range.start, spec));
        }
        let have = range.len() / size;
        if strided::extent(spec).is_none_or(|end| end > have) {
            return Err(self.corrupt(format!(
                "a tensor of shape {:?}, strides {:?} and offset {} in a storage of {have} elements",
                spec.shape, spec.strides, spec.offset
            )));
        }
        // In bounds, so neither product below overflows.
        if strided::is_contiguous(spec) {
            let start = range.start + spec.offset * size;
            return Ok((bytes, start..start + len * size, spec));
        }
        self.charge(len * size)?;
        let copy = strided::gather(&bytes.as_slice()[range], spec, size, len);
        Ok((Bytes::from(copy), 0..len * size, spec))
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
            what: format!("the value at {}", self.place()),
        }
    }

    fn corrupt(&self, what: impl Into<String>) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            place: self.place(),
            what: what.into(),
        }
    }

    /// The keys that lead to the value at hand, the first few where there are many.
    fn place(&self) -> String {
        const SHOWN: usize = 6;
        let names = self.keys.iter().take(SHOWN).map(|key| match key {
            Key::Index(index) => format!("[{index}]"),
            &Key::Node(id) => match self.parsed.node(id) {
                Node::Str(text) => shown(text),
                Node::Int(value) => format!("[{value}]"),
                other => other.kind().to_owned(),
            },
        });
        let names: Vec<String> = names.collect();
        match names.is_empty() {
            true => "the top of the pickle".to_owned(),
            false => names.join(" / "),
        }
    }
}
