//! Metadata of `torch.distributed.checkpoint`: a pickle of dataclasses.
//!
//! `Metadata` has `state_dict_metadata` (name to tensor or object), `storage_data` (name and offset
//! to file, byte and length) and `planner_data` (name to the keys of nested dictionaries).

use std::path::Path;

use indexmap::IndexSet;

use super::index::{Chunk, Index, Location, TensorEntry, charge};
use crate::CheckpointError;
use crate::budget::Budget;
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::pickle::{self, Dialect, Id, Node, Parsed};
use crate::shards;
use crate::torch::pickle_error;

/// PyTorch's own limit on the number of dimensions.
const MAX_DIMENSIONS: usize = 64;

/// Maximum number of attributes of a dataclass; those of PyTorch have at most 6.
const MAX_ATTRIBUTES: usize = 64;

/// Adds what a metadata file lists to `index`.
pub(super) fn read(
    path: &Path,
    bytes: &FileBytes,
    index: &mut Index,
    budget: &mut Budget,
) -> Result<(), CheckpointError> {
    let parsed = pickle::parse(bytes.as_slice(), Dialect::DistributedMetadata, budget)
        .map_err(|error| pickle_error(path, "the metadata", 0, error))?;
    let mut reader = MetadataReader {
        path,
        parsed: &parsed,
        index,
        budget,
    };
    let root = parsed.root;
    reader.entries(root)?;
    reader.keys(root)?;
    reader.locations(root)
}

struct MetadataReader<'m, 'a> {
    path: &'m Path,
    parsed: &'m Parsed<'a>,
    index: &'m mut Index,
    budget: &'m mut Budget,
}

impl<'m, 'a> MetadataReader<'m, 'a> {
    /// Reads `state_dict_metadata`.
    fn entries(&mut self, root: Id) -> Result<(), CheckpointError> {
        for &(name, value) in self.dict(root, "state_dict_metadata")? {
            let name = self.text(name, "a name in state_dict_metadata")?;
            if self.attribute(value, "chunks").is_none() {
                self.index.add_object(self.path, name, self.budget)?;
                continue;
            }
            let entry = self.tensor(name, value)?;
            let path = self.path;
            self.index.add_tensor(path, name, entry, self.budget)?;
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, value: Id) -> Result<TensorEntry, CheckpointError> {
        let properties = self
            .attribute(value, "properties")
            .map(|id| self.parsed.node(id));
        let dtype = match properties {
            Some(Node::Tuple(items)) => items.first().copied(),
            _ => None,
        };
        let Some(dtype) = dtype.and_then(|id| self.parsed.node(id).dtype_name()) else {
            return Err(self.corrupt(name, "no element type"));
        };
        let shape = self.sizes(name, value, "size")?;
        let listed = self
            .attribute(value, "chunks")
            .map(|id| self.parsed.node(id));
        let Some(Node::List(listed)) = listed else {
            return Err(self.corrupt(name, "its chunks are not a list"));
        };
        let mut chunks = IndexSet::new();
        for &chunk in listed {
            let chunk = Chunk {
                offsets: self.sizes(name, chunk, "offsets")?,
                sizes: self.sizes(name, chunk, "sizes")?,
            };
            charge(self.path, chunk.memory(), self.budget)?;
            chunks.insert(chunk);
        }
        Ok(TensorEntry {
            dtype,
            shape,
            chunks,
        })
    }

    /// Reads `planner_data`, which other planners than PyTorch's leave out or fill with other things.
    fn keys(&mut self, root: Id) -> Result<(), CheckpointError> {
        let data = self
            .attribute(root, "planner_data")
            .map(|id| self.parsed.node(id));
        let Some(Node::Dict(entries)) = data else {
            return Ok(());
        };
        for &(name, keys) in entries {
            let (Node::Str(name), Node::Tuple(keys)) =
                (self.parsed.node(name), self.parsed.node(keys))
            else {
                continue;
            };
            let first = keys.first().map(|&key| self.parsed.node(key));
            if let Some(Node::Str(first)) = first {
                let path = self.path;
                self.index
                    .add_keys(path, name, first, keys.len(), self.budget)?;
            }
        }
        Ok(())
    }

    /// Reads `storage_data`.
    fn locations(&mut self, root: Id) -> Result<(), CheckpointError> {
        for &(key, value) in self.dict(root, "storage_data")? {
            let Some(name) = self.attribute(key, "fqn") else {
                return Err(self.corrupt("storage_data", "a key without fqn"));
            };
            let name = self.text(name, "fqn in storage_data")?;
            let has_offset = self
                .attribute(key, "offset")
                .is_some_and(|id| !matches!(self.parsed.node(id), Node::None));
            let offsets = match has_offset {
                true => Some(self.sizes(name, key, "offset")?),
                false => None,
            };
            let location = self.location(name, value)?;
            let path = self.path;
            self.index
                .add_location(path, name, offsets, location, self.budget)?;
        }
        Ok(())
    }

    fn location(&mut self, name: &str, value: Id) -> Result<Location, CheckpointError> {
        let file = self
            .attribute(value, "relative_path")
            .map(|id| self.parsed.node(id));
        let Some(&Node::Str(file)) = file else {
            return Err(self.corrupt(name, "no file name"));
        };
        if shards::sibling_path(self.path, file).is_none() {
            let reason = format!(
                "its file \"{}\" is not a plain file name in the same directory",
                escape_for_display(file)
            );
            return Err(self.corrupt(name, &reason));
        }
        let (offset, len) = (
            self.size(name, value, "offset")?,
            self.size(name, value, "length")?,
        );
        let transforms = self
            .attribute(value, "transform_descriptors")
            .map(|id| self.parsed.node(id));
        let transform = match transforms {
            Some(Node::List(items)) => items.first(),
            Some(Node::Tuple(items)) => items.first(),
            _ => None,
        };
        let transform = transform.map(|&id| match self.parsed.node(id) {
            Node::Str(name) => escape_for_display(name),
            other => other.kind().to_owned(),
        });
        let file = match self.index.files.get_index_of(file) {
            Some(known) => known,
            None => self.index.files.insert_full(file.to_owned()).0,
        };
        Ok(Location {
            file,
            offset,
            len,
            transform,
        })
    }

    /// Returns the entries of a dictionary among the attributes of `object`.
    fn dict(&self, object: Id, name: &str) -> Result<&'m [(Id, Id)], CheckpointError> {
        let parsed = self.parsed;
        match self.attribute(object, name).map(|id| parsed.node(id)) {
            Some(Node::Dict(entries)) => Ok(entries),
            _ => Err(self.corrupt(name, "not a dictionary")),
        }
    }

    /// Returns an attribute of an object with at most [`MAX_ATTRIBUTES`]; of duplicates, the last.
    fn attribute(&self, object: Id, name: &str) -> Option<Id> {
        let attributes = match self.parsed.node(object) {
            Node::Module(attributes) if attributes.len() <= MAX_ATTRIBUTES => attributes,
            _ => return None,
        };
        let mut named = attributes
            .iter()
            .rev()
            .filter(|&&(key, _)| matches!(self.parsed.node(key), Node::Str(key) if *key == name));
        named.next().map(|&(_, value)| value)
    }

    fn text(&self, id: Id, location: &str) -> Result<&'a str, CheckpointError> {
        match self.parsed.node(id) {
            &Node::Str(text) => Ok(text),
            other => Err(self.corrupt(location, &format!("{}, not a string", other.kind()))),
        }
    }

    fn size(&self, name: &str, object: Id, attribute: &str) -> Result<usize, CheckpointError> {
        let size = match self.attribute(object, attribute) {
            Some(id) => self.parsed.node(id).as_size(),
            None => None,
        };
        size.ok_or_else(|| {
            self.corrupt(name, &format!("{attribute} is not a non-negative integer"))
        })
    }

    fn sizes(
        &self,
        name: &str,
        object: Id,
        attribute: &str,
    ) -> Result<Box<[usize]>, CheckpointError> {
        let items = match self
            .attribute(object, attribute)
            .map(|id| self.parsed.node(id))
        {
            Some(Node::Tuple(items)) if items.len() <= MAX_DIMENSIONS => &items[..],
            Some(Node::List(items)) if items.len() <= MAX_DIMENSIONS => items,
            _ => &[],
        };
        let is_empty = |id| matches!(self.parsed.node(id), Node::Tuple(items) if items.is_empty());
        let sizes: Option<Box<[usize]>> = items
            .iter()
            .map(|&item| self.parsed.node(item).as_size())
            .collect();
        match sizes {
            Some(sizes) if !sizes.is_empty() => Ok(sizes),
            Some(sizes) if self.attribute(object, attribute).is_some_and(is_empty) => Ok(sizes),
            _ => {
                let reason =
                    format!("{attribute} is not a tuple of at most {MAX_DIMENSIONS} numbers");
                Err(self.corrupt(name, &reason))
            }
        }
    }

    fn corrupt(&self, location: &str, reason: &str) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            location: escape_for_display(location),
            reason: reason.to_owned(),
        }
    }
}
