//! The files of a distributed checkpoint: the tensors of the wanted model, joined, and the other objects
//! as text.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::Content;
use super::index::{Chunk, Index, Location, TensorEntry};
use super::join;
use crate::budget::Budget;
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::file::{self, ParsedFile, Wanted};
use crate::selection::{self, SelectedModel};
use crate::tensor::checked_len;
use crate::{CheckpointError, Dtype, Tensor, Value, WeightsFormat};
use crate::{state_dict, torch};

/// Maximum number of objects under one key that are read as metadata.
const MAX_OBJECTS: usize = 8;

/// Names of tensors with those in the checkpoint, and the choice among its models.
type Chosen = (IndexMap<String, String>, Option<SelectedModel>);

/// A file of the checkpoint.
pub(super) enum FileContent {
    /// Archives of `torch.save`, one after another.
    Archives(FileBytes),
    /// The chunks of one rank by name.
    Safetensors(IndexMap<String, Tensor>),
}

/// The files of a checkpoint, opened when they are needed.
pub(super) struct Source<'i> {
    /// The metadata file, or one of the safetensors files.
    path: &'i Path,
    index: &'i Index,
    /// By index in [`Index::files`].
    pub(super) opened: HashMap<usize, FileContent>,
}

impl<'i> Source<'i> {
    pub(super) fn new(path: &'i Path, index: &'i Index) -> Self {
        Self {
            path,
            index,
            opened: HashMap::new(),
        }
    }

    /// Chooses the model and joins its tensors.
    pub(super) fn content(
        mut self,
        wanted: Wanted<'_>,
        mut budget: Budget,
    ) -> Result<Content, CheckpointError> {
        if self.index.tensors.is_empty() {
            return Err(CheckpointError::NoTensors {
                path: self.path.to_owned(),
                found: format!("found {} other objects", self.index.objects.len()),
            });
        }
        let (named, selection) = self.chosen(wanted)?;
        let metadata = self.metadata(&mut budget)?;
        let mut tensors = IndexMap::new();
        for (name, stored) in named {
            let tensor = self.tensor(&stored, &mut budget)?;
            tensors.insert(name, tensor);
        }
        let paths = self.paths();
        let file = ParsedFile {
            format: WeightsFormat::TorchDistributed,
            tensors,
            metadata,
            value: None,
            selection,
            budget,
        };
        Ok((file, paths))
    }

    /// Returns the names of the wanted tensors, each with that in the checkpoint.
    fn chosen(&self, wanted: Wanted<'_>) -> Result<Chosen, CheckpointError> {
        let all = || {
            let names = self.index.tensors.keys();
            names.map(|name| (name.clone(), name.clone())).collect()
        };
        if let Wanted::Model(key) = wanted
            && let Some((tensors, model)) = selection::from_named(self.path, &all(), key)?
        {
            return Ok((tensors, Some(model)));
        }
        let outer = state_dict::STATE_DICT_KEYS.into_iter().find(|key| {
            let mut names = self.index.tensors.keys();
            names.any(|name| self.index.outer_key(name) == Some(*key))
        });
        let Some(outer) = outer else {
            return Ok((all(), None));
        };
        let names = self.index.tensors.keys();
        let under = names.filter(|name| self.index.outer_key(name) == Some(outer));
        let stripped = under.map(|name| {
            let inner = name
                .strip_prefix(outer)
                .and_then(|rest| rest.strip_prefix('.'));
            (inner.unwrap_or(name).to_owned(), name.clone())
        });
        Ok((stripped.collect(), None))
    }

    /// Joins the chunks of a tensor. A chunk that is the whole tensor is not copied.
    fn tensor(&mut self, name: &str, budget: &mut Budget) -> Result<Tensor, CheckpointError> {
        let index = self.index;
        let Some(entry) = index.tensors.get(name) else {
            return Err(self.invalid(name, "it is not listed".to_owned()));
        };
        let Some(dtype) = Dtype::from_torch(entry.dtype) else {
            return Err(CheckpointError::UnsupportedDtype {
                path: self.path.to_owned(),
                tensor: escape_for_display(name),
                dtype: entry.dtype.to_owned(),
            });
        };
        let chunks: Vec<&Chunk> = entry.chunks.iter().collect();
        join::check_cover(&entry.shape, &chunks)
            .map_err(|problem| self.invalid(name, problem.to_string()))?;
        if let [only] = chunks[..] {
            return self.chunk(name, entry, only, dtype, budget);
        }
        let len = checked_len(&entry.shape, dtype.size())
            .map(|len| len * dtype.size())
            .filter(|&bytes| budget.charge(bytes) == Ok(()))
            .ok_or_else(|| CheckpointError::TooLarge {
                path: self.path.to_owned(),
                item: format!("tensor {}", escape_for_display(name)),
            })?;
        let mut whole = vec![0; len];
        for chunk in chunks {
            if chunk.len() == Some(0) {
                continue;
            }
            let part = self.chunk(name, entry, chunk, dtype, budget)?;
            join::place(&mut whole, &entry.shape, chunk, part.bytes(), dtype.size());
            part.release();
        }
        Tensor::from_bytes(dtype, &entry.shape, whole)
    }

    /// Reads one chunk, which must have the type and shape that the index says.
    fn chunk(
        &mut self,
        name: &str,
        entry: &TensorEntry,
        chunk: &Chunk,
        dtype: Dtype,
        budget: &mut Budget,
    ) -> Result<Tensor, CheckpointError> {
        let index = self.index;
        let Some(location) = index.location(name, Some(chunk)) else {
            let reason = format!("no file has the chunk at {:?}", chunk.offsets);
            return Err(self.invalid(name, reason));
        };
        self.open(location.file)?;
        let tensor = match self.opened.get(&location.file) {
            Some(FileContent::Safetensors(tensors)) => tensors.get(name).cloned(),
            Some(FileContent::Archives(bytes)) => {
                match self.object(bytes, name, location, budget)? {
                    Value::Tensor(tensor) => Some(tensor),
                    _ => None,
                }
            }
            None => None,
        };
        match tensor {
            Some(tensor) if tensor.dtype() == dtype && *tensor.shape() == *chunk.sizes => {
                Ok(tensor)
            }
            found => {
                let found = found.map_or("no tensor".to_owned(), |tensor| {
                    format!("{} {:?}", tensor.dtype(), tensor.shape())
                });
                let reason = format!(
                    "the chunk at {:?} in {} is {found}, expected {} {:?}",
                    chunk.offsets,
                    escape_for_display(self.file_name(location.file)),
                    Dtype::from_torch(entry.dtype)
                        .map_or(entry.dtype.to_owned(), |d| d.to_string()),
                    chunk.sizes,
                );
                Err(self.invalid(name, reason))
            }
        }
    }

    /// Reads one archive of `torch.save`.
    fn object(
        &self,
        bytes: &FileBytes,
        name: &str,
        location: &Location,
        budget: &mut Budget,
    ) -> Result<Value, CheckpointError> {
        let path = self.path.with_file_name(self.file_name(location.file));
        let at = || format!("{} at byte {}", escape_for_display(name), location.offset);
        if let Some(transform) = &location.transform {
            return Err(CheckpointError::Unrecognized {
                path,
                looks_like: format!("chunks with the transformation {transform}"),
                hint: "save the checkpoint without extensions of `FileSystemWriter`",
            });
        }
        let end = location.offset.checked_add(location.len);
        let part = end.and_then(|end| bytes.part(location.offset..end));
        let Some(part) = part else {
            return Err(CheckpointError::Truncated {
                path,
                reason: format!(
                    "{} has {} bytes, but the file only {}",
                    at(),
                    location.len,
                    bytes.as_slice().len()
                ),
            });
        };
        match torch::read_zip(&path, &part, budget) {
            Ok((value, _)) => Ok(value),
            Err(CheckpointError::Corrupt {
                path,
                location,
                reason,
            }) => Err(CheckpointError::Corrupt {
                path,
                location: format!("{}, {location}", at()),
                reason,
            }),
            Err(CheckpointError::Truncated { path, reason }) => Err(CheckpointError::Truncated {
                path,
                reason: format!("{}: {reason}", at()),
            }),
            Err(error) => Err(error),
        }
    }

    fn open(&mut self, file: usize) -> Result<(), CheckpointError> {
        if self.opened.contains_key(&file) {
            return Ok(());
        }
        let name = self.file_name(file);
        let bytes = match file::memory_map(&self.path.with_file_name(name)) {
            Err(CheckpointError::NotFound { .. }) => {
                return Err(CheckpointError::MissingShard {
                    path: self.path.to_owned(),
                    shard: escape_for_display(name),
                });
            }
            other => other?,
        };
        self.opened.insert(file, FileContent::Archives(bytes));
        Ok(())
    }

    /// Returns the objects beside the tensors as text: `epoch`, `step`, … Those in nested dictionaries,
    /// such as the settings of an optimizer, are counted if they are many.
    fn metadata(
        &mut self,
        budget: &mut Budget,
    ) -> Result<IndexMap<String, String>, CheckpointError> {
        let index = self.index;
        let mut groups: IndexMap<&str, Vec<&str>> = IndexMap::new();
        for name in &index.objects {
            let group = index.outer_key(name).unwrap_or(name);
            groups.entry(group).or_default().push(name);
        }
        let mut texts = IndexMap::new();
        for (group, names) in groups {
            if names.len() > MAX_OBJECTS {
                let text = format!("{} objects, not read", names.len());
                texts.insert(group.to_owned(), text);
                continue;
            }
            for name in names {
                let text = self.object_text(name, budget)?;
                texts.insert(name.to_owned(), text);
            }
        }
        Ok(texts)
    }

    fn object_text(&mut self, name: &str, budget: &mut Budget) -> Result<String, CheckpointError> {
        let Some(location) = self.index.location(name, None) else {
            return Ok("in no file".to_owned());
        };
        self.open(location.file)?;
        let Some(FileContent::Archives(bytes)) = self.opened.get(&location.file) else {
            return Ok("in no file".to_owned());
        };
        match self.object(bytes, name, location, budget) {
            Ok(value) => Ok(state_dict::text(&value)),
            // Weights can be used without the objects of the program that saved them.
            Err(CheckpointError::DisallowedGlobal { global, .. }) => {
                Ok(format!("an object that refers to {global}, not read"))
            }
            Err(CheckpointError::UnsupportedTensorClass { class, .. }) => {
                Ok(format!("an object with a {class}, not read"))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the paths of the files that were read, in the order of their names.
    fn paths(&self) -> Vec<PathBuf> {
        let mut files: Vec<usize> = self.opened.keys().copied().collect();
        files.sort_by_key(|&file| self.file_name(file));
        files
            .into_iter()
            .map(|file| self.path.with_file_name(self.file_name(file)))
            .collect()
    }

    fn file_name(&self, file: usize) -> &'i str {
        self.index
            .files
            .get_index(file)
            .map_or("", |name| name.as_str())
    }

    fn invalid(&self, name: &str, reason: String) -> CheckpointError {
        CheckpointError::InvalidChunks {
            path: self.path.to_owned(),
            tensor: escape_for_display(name),
            reason,
        }
    }
}
