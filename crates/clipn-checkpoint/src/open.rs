//! Opening weights of any kind.

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

/// Named tensors read from a weights file, and what else the file told.
///
/// The weights are looked for in the file's object itself and under `state_dict`, `model_state_dict` and `model`.
/// Prefixes that wrappers such as DistributedDataParallel put before every name (`module.`, `_orig_mod.`) are taken
/// off when every name has them. Other programs' names for the parts of a CLIP become open_clip's ([`Layout`]).
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
    /// Opens a weights file, an index of weights in several files, or the weights in a folder; maps it into memory and
    /// reads what it holds. The kind is told by the content, not the name.
    ///
    /// The files must not be changed in place while their tensors are in use; replacing one by renaming another over it
    /// is fine, and is what [`write_safetensors`](super::write_safetensors) does.
    ///
    /// # Errors
    /// See [`CheckpointError`]: no such file, a folder without weights, not a weights file, damaged, or something that
    /// only running Python code could read.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let chosen = if path.is_dir() {
            folder::weights_file(path)?
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

    /// Reads a weights file already in memory. `path` only names it in errors.
    ///
    /// # Errors
    /// As [`open`](Checkpoint::open), but for those of the file system.
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

    /// What kind of file it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// How the file names the tensors of a CLIP.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Where the file lies: in the folder that was opened, or the index of several files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files that hold the tensors.
    pub fn parts(&self) -> usize {
        self.files.len()
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The tensor of that name, which is open_clip's and without wrappers' prefixes.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names and tensors in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether the file has no tensors, which only a safetensors file may.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// What else the file holds, as readable text: a safetensors file's `__metadata__`; of a `.pt` file everything
    /// beside the weights (`epoch`, `name`, …), containers by their size and first keys.
    pub fn metadata(&self) -> &IndexMap<String, String> {
        &self.metadata
    }

    /// Whether every name in the file began with `module.`, as DistributedDataParallel saves them.
    pub fn has_module_prefix(&self) -> bool {
        self.stripped.starts_with("module.")
    }

    /// The wrappers' prefixes taken off every name: empty, `module.`, `_orig_mod.` or both.
    pub fn stripped_prefix(&self) -> &str {
        &self.stripped
    }

    /// The whole object of a `.pt` file, for what stands beside the weights (`optimizer`, `scaler`); `None` for
    /// safetensors. Its tensors are views of the file like the weights.
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

/// What one file holds.
pub(crate) struct File {
    pub(crate) kind: FileKind,
    pub(crate) tensors: IndexMap<String, Tensor>,
    pub(crate) metadata: IndexMap<String, String>,
    pub(crate) value: Option<Value>,
    /// Memory that it may still cause to be taken.
    pub(crate) budget: Budget,
}

/// Opens and reads one file, names as they stand in it.
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
    let described = fs::metadata(path).map_err(|error| system_error(path, "open", error))?;
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
    let file = fs::File::open(path).map_err(|error| system_error(path, "open", error))?;
    // SAFETY: the map is private to readers that take any bytes as they come, so other content does no harm to
    // memory safety; that the file is not cut short meanwhile is asked of the caller in `Checkpoint::open`.
    let mapped = unsafe { Mmap::map(&file) };
    mapped
        .map(|map| Bytes::Mapped(Arc::new(map)))
        .map_err(|error| system_error(path, "map into memory", error))
}

pub(crate) fn system_error(
    path: &Path,
    action: &'static str,
    source: io::Error,
) -> CheckpointError {
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
