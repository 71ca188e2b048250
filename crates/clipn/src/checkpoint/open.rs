//! Opening a weights file of any kind.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use memmap2::Mmap;

use super::buffer::Bytes;
use super::recognise::recognise;
use super::{CheckpointError, FileKind, Tensor, Value, safetensors, state_dict, torch};

/// Named tensors read from a weights file, and what else the file told.
///
/// The weights are looked for in the file's object itself and under `state_dict`, `model_state_dict` and `model`.
/// Prefixes that wrappers such as DistributedDataParallel put before every name (`module.`, `_orig_mod.`) are taken
/// off when every name has them.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    kind: FileKind,
    path: PathBuf,
    tensors: IndexMap<String, Tensor>,
    metadata: IndexMap<String, String>,
    stripped: String,
    value: Option<Value>,
}

impl Checkpoint {
    /// Opens the file, maps it into memory and reads what it holds. The kind is told by its content, not its name.
    ///
    /// The file must not be changed in place while its tensors are in use; replacing it by renaming another over it
    /// is fine, and is what [`write_safetensors`](super::write_safetensors) does.
    ///
    /// # Errors
    /// See [`CheckpointError`]: no such file, a folder, not a weights file, damaged, or something that only running
    /// Python code could read.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::read(path, &map(path)?)
    }

    /// Reads a weights file already in memory. `path` only names it in errors.
    ///
    /// # Errors
    /// As [`open`](Checkpoint::open), but for those of the file system.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::read(path, &Bytes::from(bytes))
    }

    fn read(path: &Path, bytes: &Bytes) -> Result<Checkpoint, CheckpointError> {
        let kind = recognise(path, bytes.as_slice())?;
        let value = match kind {
            FileKind::Safetensors => None,
            FileKind::TorchZip => Some(torch::read_zip(path, bytes)?),
            FileKind::TorchLegacy => Some(torch::read_legacy(path, bytes)?),
        };
        let (tensors, metadata) = match &value {
            None => safetensors::read(path, bytes)?,
            Some(object) => {
                let found = state_dict::find(path, object)?;
                (found.tensors, found.metadata)
            }
        };
        let (tensors, stripped) = state_dict::strip_wrappers(tensors);
        Ok(Checkpoint { kind, path: path.to_owned(), tensors, metadata, stripped, value })
    }

    /// What kind of file it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor of that name, without wrappers' prefixes.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names and tensors in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
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

fn map(path: &Path) -> Result<Bytes, CheckpointError> {
    let described = fs::metadata(path).map_err(|error| system_error(path, "open", error))?;
    if described.is_dir() {
        return Err(CheckpointError::Folder { path: path.to_owned(), found: weights_in(path) });
    }
    if !described.is_file() {
        return Err(CheckpointError::NotAFile { path: path.to_owned() });
    }
    if described.len() == 0 {
        return Err(CheckpointError::Empty { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|error| system_error(path, "open", error))?;
    // SAFETY: the map is private to readers that take any bytes as they come, so other content does no harm to
    // memory safety; that the file is not cut short meanwhile is asked of the caller in `Checkpoint::open`.
    let mapped = unsafe { Mmap::map(&file) };
    mapped
        .map(|map| Bytes::Mapped(Arc::new(map)))
        .map_err(|error| system_error(path, "map into memory", error))
}

fn system_error(path: &Path, action: &'static str, source: io::Error) -> CheckpointError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => CheckpointError::NotFound { path },
        io::ErrorKind::PermissionDenied => CheckpointError::PermissionDenied { path },
        _ => CheckpointError::Io { action, path, source },
    }
}

/// The first few files of a folder that look like weights, by name.
fn weights_in(folder: &Path) -> Vec<String> {
    const SHOWN: usize = 5;
    const SEARCHED: usize = 10_000;
    const EXTENSIONS: [&str; 5] = ["safetensors", "pt", "pth", "bin", "ckpt"];
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.take(SEARCHED).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<String> = names
        .filter(|name| {
            let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        })
        .collect();
    found.sort_unstable();
    found.truncate(SHOWN);
    found
}
