//! Opening weights files of every supported format.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use memmap2::Mmap;

use super::budget::Budget;
use super::buffer::Bytes;
use super::pickle::Dialect;
use super::recognise::recognise;
use super::{CheckpointError, FileKind, Layout, Tensor, Value};
use super::{folder, layout, safetensors, shards, state_dict, torch};

/// Named tensors of a weights file, with its metadata.
///
/// The weights are searched for in the file's top-level object and under `state_dict`,
/// `model_state_dict` and `model`. Prefixes of wrappers such as DistributedDataParallel (`module.`,
/// `_orig_mod.`) are stripped if all names have them. Names of other programs' CLIP models are
/// converted to open_clip's ([`Layout`]).
#[derive(Debug, Clone)]
pub struct Checkpoint {
    kind: FileKind,
    layout: Layout,
    path: PathBuf,
    files: Vec<PathBuf>,
    tensors: IndexMap<String, Tensor>,
    metadata: IndexMap<String, String>,
    stripped: String,
    value: Option<Value>,
}

impl Checkpoint {
    /// Opens a weights file, the index of a sharded checkpoint, or the weights of a directory. The
    /// format is detected from the content, not the file name. Files are memory-mapped.
    ///
    /// The files must not be changed in place while their tensors are in use. Replacing a file by
    /// renaming another one over it is fine; [`write_safetensors`](super::write_safetensors) does
    /// so.
    ///
    /// # Errors
    /// Returns a [`CheckpointError`] if the path does not exist, a directory has no unique weights
    /// file, the file is not a weights file or is damaged, or only running Python code could read
    /// it.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let chosen = if path.is_dir() {
            folder::find_weights_file(path)?
        } else {
            path.to_owned()
        };
        let bytes = map(&chosen)?;
        if shards::is_index(bytes.as_slice()) {
            let shards::Parts {
                kind,
                tensors,
                paths,
                budget,
            } = shards::read(&chosen)?;
            let whole = File {
                kind,
                tensors,
                metadata: IndexMap::new(),
                value: None,
                budget,
            };
            return Checkpoint::of(&chosen, whole, paths);
        }
        Checkpoint::of(&chosen, read(&chosen, &bytes)?, vec![chosen.clone()])
    }

    /// Reads a weights file from memory. `path` is only used in errors.
    ///
    /// # Errors
    /// Same as [`open`](Checkpoint::open), except for I/O errors.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::of(
            path,
            read(path, &Bytes::from(bytes))?,
            vec![path.to_owned()],
        )
    }

    fn of(path: &Path, file: File, files: Vec<PathBuf>) -> Result<Checkpoint, CheckpointError> {
        let File {
            kind,
            tensors,
            metadata,
            value,
            budget,
        } = file;
        let (tensors, stripped) = state_dict::strip_wrappers(tensors);
        let (tensors, layout) = layout::to_open_clip(path, tensors, budget)?;
        Ok(Checkpoint {
            kind,
            layout,
            path: path.to_owned(),
            files,
            tensors,
            metadata,
            stripped,
            value,
        })
    }

    /// Returns the detected file format.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Returns the naming scheme of the tensors in the file.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the path of the weights file, also if a directory was opened, or of the index of a
    /// sharded checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of files that contain the tensors: more than 1 for a sharded checkpoint.
    pub fn parts(&self) -> usize {
        self.files.len()
    }

    /// Returns the paths of the files that contain the tensors.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns a tensor by its open_clip name, without wrapper prefixes.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Iterates over names and tensors in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Returns the number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors, which is possible only for safetensors files.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Returns the metadata as readable text. For safetensors that is `__metadata__`; for a `.pt`
    /// file it is everything beside the weights (`epoch`, `name`, …), with containers abbreviated
    /// to their size and first keys.
    pub fn metadata(&self) -> &IndexMap<String, String> {
        &self.metadata
    }

    /// Whether all names in the file begin with `module.`, as DistributedDataParallel saves them.
    pub fn has_module_prefix(&self) -> bool {
        self.stripped.starts_with("module.")
    }

    /// Returns the wrapper prefix stripped from all names: empty, `module.`, `_orig_mod.` or both.
    pub fn stripped_prefix(&self) -> &str {
        &self.stripped
    }

    /// Returns the top-level object of a `.pt` file, to read what is stored beside the weights
    /// (`optimizer`, `scaler`); `None` for safetensors. Its tensors are views of the file like the
    /// weights.
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

/// Content of one file.
pub(crate) struct File {
    pub(crate) kind: FileKind,
    pub(crate) tensors: IndexMap<String, Tensor>,
    pub(crate) metadata: IndexMap<String, String>,
    pub(crate) value: Option<Value>,
    /// Memory that processing the file may still allocate.
    pub(crate) budget: Budget,
}

/// Opens and reads one file, without converting tensor names.
pub(crate) fn file(path: &Path) -> Result<File, CheckpointError> {
    read(path, &map(path)?)
}

fn read(path: &Path, bytes: &Bytes) -> Result<File, CheckpointError> {
    let (kind, value, mut budget) = match recognise(path, bytes.as_slice())? {
        FileKind::TorchZip | FileKind::TorchScript => match torch::read_zip(path, bytes)? {
            (value, Dialect::Checkpoint, budget) => (FileKind::TorchZip, value, budget),
            (value, Dialect::TorchScript, budget) => (FileKind::TorchScript, value, budget),
        },
        FileKind::TorchLegacy => {
            let (value, budget) = torch::read_legacy(path, bytes)?;
            (FileKind::TorchLegacy, value, budget)
        }
        kind @ FileKind::Safetensors => {
            let mut budget = Budget::for_file(bytes.as_slice().len());
            let (tensors, metadata) = safetensors::read(path, bytes, &mut budget)?;
            return Ok(File {
                kind,
                tensors,
                metadata,
                value: None,
                budget,
            });
        }
    };
    let (tensors, metadata) = if kind == FileKind::TorchScript {
        (
            torch::named_tensors(path, &value, &mut budget)?,
            IndexMap::new(),
        )
    } else {
        let found = state_dict::find(path, &value)?;
        (found.tensors, found.metadata)
    };
    Ok(File {
        kind,
        tensors,
        metadata,
        value: Some(value),
        budget,
    })
}

fn map(path: &Path) -> Result<Bytes, CheckpointError> {
    let described = fs::metadata(path).map_err(|error| io_error(path, "open", error))?;
    if !described.is_file() {
        return Err(CheckpointError::NotAFile {
            path: path.to_owned(),
        });
    }
    if described.len() == 0 {
        return Err(CheckpointError::Empty {
            path: path.to_owned(),
        });
    }
    let file = fs::File::open(path).map_err(|error| io_error(path, "open", error))?;
    // SAFETY: readers of the map accept any bytes, so changed content does not affect memory
    // safety. `Checkpoint::open` requires of the caller that the file is not truncated meanwhile.
    let mapped = unsafe { Mmap::map(&file) };
    mapped
        .map(|map| Bytes::Mapped(Arc::new(map)))
        .map_err(|error| io_error(path, "memory-map", error))
}

pub(crate) fn io_error(path: &Path, action: &'static str, source: io::Error) -> CheckpointError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => CheckpointError::NotFound { path },
        io::ErrorKind::PermissionDenied => CheckpointError::PermissionDenied { path },
        _ => CheckpointError::Io {
            action,
            path,
            source,
        },
    }
}
