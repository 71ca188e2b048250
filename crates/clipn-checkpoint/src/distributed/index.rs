//! Index of a distributed checkpoint: tensors with their chunks, other objects, and where each is.

use std::collections::HashMap;
use std::path::Path;

use indexmap::{IndexMap, IndexSet};

use crate::CheckpointError;
use crate::budget::{Budget, Exhausted};
use crate::error::escape_for_display;
use crate::tensor::checked_len;

/// Rectangular part of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Chunk {
    /// Index of the first element in each dimension.
    pub(super) offsets: Box<[usize]>,
    /// Length of each dimension.
    pub(super) sizes: Box<[usize]>,
}

impl Chunk {
    /// Returns the number of elements; `None` if it exceeds the address space.
    pub(super) fn len(&self) -> Option<usize> {
        checked_len(&self.sizes, 1)
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Chunk>() + size_of_val(&*self.offsets) + size_of_val(&*self.sizes)
    }
}

/// A tensor of the checkpoint.
#[derive(Debug, Clone)]
pub(super) struct TensorEntry {
    /// PyTorch's name of the element type.
    pub(super) dtype: &'static str,
    pub(super) shape: Box<[usize]>,
    pub(super) chunks: IndexSet<Chunk>,
}

/// Bytes of a chunk or an object.
#[derive(Debug, Clone)]
pub(super) struct Location {
    /// Index in [`Index::files`].
    pub(super) file: usize,
    /// First byte.
    pub(super) offset: usize,
    /// Number of bytes.
    pub(super) len: usize,
    /// First transformation of the bytes, such as a compression.
    pub(super) transform: Option<String>,
}

/// Locations of the chunks of a tensor by their offsets; of an object without any.
type Locations = HashMap<Option<Box<[usize]>>, Location>;

/// Everything that the metadata files list. Files of several ranks are merged.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) tensors: IndexMap<String, TensorEntry>,
    /// Names of objects that are no tensors.
    pub(super) objects: IndexSet<String>,
    /// File names; all files are in the directory of the metadata.
    pub(super) files: IndexSet<String>,
    /// By the name of the tensor or object.
    locations: HashMap<String, Locations>,
    /// First key and number of keys of names that were flattened from nested dictionaries.
    outer_keys: HashMap<String, (String, usize)>,
}

impl Index {
    /// Adds a tensor, or more chunks of a known one. The memory of the chunks has been charged.
    pub(super) fn add_tensor(
        &mut self,
        path: &Path,
        name: &str,
        entry: TensorEntry,
        budget: &mut Budget,
    ) -> Result<(), CheckpointError> {
        let shape = size_of_val(&*entry.shape);
        charge(path, name.len() + size_of::<TensorEntry>() + shape, budget)?;
        match self.tensors.entry(name.to_owned()) {
            indexmap::map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
            }
            indexmap::map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.dtype != entry.dtype || known.shape != entry.shape {
                    return Err(CheckpointError::InvalidChunks {
                        path: path.to_owned(),
                        tensor: escape_for_display(name),
                        reason: format!(
                            "it is {} {:?} for one rank and {} {:?} for another",
                            known.dtype, known.shape, entry.dtype, entry.shape
                        ),
                    });
                }
                known.chunks.extend(entry.chunks);
            }
        }
        Ok(())
    }

    /// Same as [`add_tensor`](Self::add_tensor) for files that do not say how large the whole tensor is:
    /// it ends where its last chunk ends.
    pub(super) fn add_growing_tensor(
        &mut self,
        path: &Path,
        name: &str,
        mut entry: TensorEntry,
        budget: &mut Budget,
    ) -> Result<(), CheckpointError> {
        if let Some(known) = self.tensors.get_mut(name)
            && known.shape.len() == entry.shape.len()
        {
            for (known, end) in known.shape.iter_mut().zip(&mut entry.shape) {
                *known = (*known).max(*end);
                *end = *known;
            }
        }
        self.add_tensor(path, name, entry, budget)
    }

    /// Adds an object that is no tensor.
    pub(super) fn add_object(
        &mut self,
        path: &Path,
        name: &str,
        budget: &mut Budget,
    ) -> Result<(), CheckpointError> {
        charge(path, name.len() + size_of::<String>(), budget)?;
        self.objects.insert(name.to_owned());
        Ok(())
    }

    /// Adds the location of an object or of the chunk at `offsets`. What several ranks saved is read
    /// from the first.
    pub(super) fn add_location(
        &mut self,
        path: &Path,
        name: &str,
        offsets: Option<Box<[usize]>>,
        location: Location,
        budget: &mut Budget,
    ) -> Result<(), CheckpointError> {
        let numbers = offsets.as_deref().map_or(0, size_of_val);
        let entry = size_of::<(Option<Box<[usize]>>, Location)>() + numbers;
        charge(path, name.len() + entry, budget)?;
        let places = self.locations.entry(name.to_owned()).or_default();
        places.entry(offsets).or_insert(location);
        Ok(())
    }

    /// Adds the keys of nested dictionaries under which `name` was: the first, and their number.
    pub(super) fn add_keys(
        &mut self,
        path: &Path,
        name: &str,
        first: &str,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<(), CheckpointError> {
        charge(
            path,
            name.len() + first.len() + size_of::<(String, usize)>(),
            budget,
        )?;
        let keys = (first.to_owned(), depth);
        self.outer_keys.insert(name.to_owned(), keys);
        Ok(())
    }

    /// Returns where an object, or the chunk of a tensor, is.
    pub(super) fn location(&self, name: &str, chunk: Option<&Chunk>) -> Option<&Location> {
        let locations = self.locations.get(name)?;
        let offsets = chunk.map(|chunk| chunk.offsets.clone());
        let whole = || locations.get(&None).filter(|_| locations.len() == 1);
        locations.get(&offsets).or_else(whole)
    }

    /// Returns the first key of the nested dictionaries that `name` was in; `None` at the top level.
    pub(super) fn outer_key(&self, name: &str) -> Option<&str> {
        let (first, depth) = self.outer_keys.get(name)?;
        (*depth > 1).then_some(first)
    }
}

/// Charges items of a growing collection.
pub(super) fn charge(
    path: &Path,
    bytes: usize,
    budget: &mut Budget,
) -> Result<(), CheckpointError> {
    budget
        .charge_growing(bytes)
        .map_err(|Exhausted| CheckpointError::TooLarge {
            path: path.to_owned(),
            item: "the chunks that it lists".to_owned(),
        })
}
