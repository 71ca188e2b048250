//! Reading of one weights file of any format.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clipn_base::files::MappedFile;
use indexmap::IndexMap;

use crate::budget::Budget;
use crate::buffer::FileBytes;
use crate::format::detect_format;
use crate::pickle::Dialect;
use crate::selection::{self, SelectedModel};
use crate::{CheckpointError, Tensor, Value, WeightsFormat};
use crate::{safetensors, state_dict, torch};

/// Content of one file.
pub(crate) struct ParsedFile {
    pub(crate) format: WeightsFormat,
    pub(crate) tensors: IndexMap<String, Tensor>,
    pub(crate) metadata: IndexMap<String, String>,
    pub(crate) value: Option<Value>,
    /// The choice among the models in the file, if one was made.
    pub(crate) selection: Option<SelectedModel>,
    /// Memory that processing the file may still allocate.
    pub(crate) budget: Budget,
}

/// Which tensors of a file are read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Those of the first usual dictionary, whatever they are.
    Tensors,
    /// Those of a CLIP: the one of this name, or the only one.
    Model(Option<&'a str>),
}

/// Opens and reads one file, without converting tensor names.
pub(crate) fn open_file(path: &Path) -> Result<ParsedFile, CheckpointError> {
    parse(path, &memory_map(path)?, Wanted::Tensors)
}

/// Parses one file, without converting tensor names to another layout.
pub(crate) fn parse(
    path: &Path,
    bytes: &FileBytes,
    wanted: Wanted<'_>,
) -> Result<ParsedFile, CheckpointError> {
    let mut budget = Budget::for_file(bytes.as_slice().len());
    let (format, value) = match detect_format(path, bytes.as_slice())? {
        WeightsFormat::TorchZip | WeightsFormat::TorchScript => {
            match torch::read_zip(path, bytes, &mut budget)? {
                (value, Dialect::TorchScript) => (WeightsFormat::TorchScript, value),
                (value, _) => (WeightsFormat::TorchZip, value),
            }
        }
        WeightsFormat::TorchLegacy => {
            let value = torch::read_legacy(path, bytes, &mut budget)?;
            (WeightsFormat::TorchLegacy, value)
        }
        // Its tensors are in other files, so only a directory can be read.
        WeightsFormat::TorchDistributed => {
            return Err(CheckpointError::Unrecognized {
                path: path.to_owned(),
                looks_like: "the metadata of a distributed checkpoint, without its chunks"
                    .to_owned(),
                hint: "name the directory that torch.distributed.checkpoint wrote",
            });
        }
        format @ WeightsFormat::Safetensors => {
            let (tensors, metadata) = safetensors::read(path, bytes, &mut budget)?;
            return Ok(ParsedFile {
                format,
                tensors,
                metadata,
                value: None,
                selection: None,
                budget,
            });
        }
    };
    let mut selection = None;
    let (tensors, metadata) = if format == WeightsFormat::TorchScript {
        (
            torch::named_tensors(path, &value, &mut budget)?,
            IndexMap::new(),
        )
    } else {
        let selected = match wanted {
            Wanted::Model(key) => selection::from_object(path, &value, key)?,
            Wanted::Tensors => None,
        };
        let found = match selected {
            Some((found, model)) => {
                selection = Some(model);
                found
            }
            None => match (wanted, value.as_tensor()) {
                // An array that was saved by itself, which is no model.
                (Wanted::Tensors, Some(tensor)) => state_dict::of_tensor(tensor),
                _ => state_dict::find(path, &value)?,
            },
        };
        (found.tensors, found.metadata)
    };
    Ok(ParsedFile {
        format,
        tensors,
        metadata,
        value: Some(value),
        selection,
        budget,
    })
}

/// Maps a file into memory.
pub(crate) fn memory_map(path: &Path) -> Result<FileBytes, CheckpointError> {
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
    let file = fs::File::open(path)
        .and_then(|file| MappedFile::new(path, file))
        .map_err(|error| io_error(path, "open", error))?;
    if COPIES_FILES.load(Ordering::Relaxed) {
        return copy(path, &file);
    }
    // SAFETY: `Checkpoint::open` requires of the caller that the file is not truncated meanwhile.
    unsafe { FileBytes::map(file) }.map_err(|error| io_error(path, "memory-map", error))
}

/// Whether files are copied into memory.
static COPIES_FILES: AtomicBool = AtomicBool::new(false);

/// Sets, for the whole process, whether weights files that are opened from now on are read into memory
/// as a whole instead of being mapped [default: false]. A copy takes memory of its own, and does not
/// depend on what happens to the file.
pub fn copy_files(is_copied: bool) {
    COPIES_FILES.store(is_copied, Ordering::Relaxed);
}

/// Reads a whole file.
fn copy(path: &Path, file: &MappedFile) -> Result<FileBytes, CheckpointError> {
    let mut bytes = Vec::new();
    let mut reader = file.file();
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| io_error(path, "read", error))?;
    file.check()?;
    Ok(FileBytes::from(bytes))
}

/// Follows a link over others to the path that does not exist.
fn last_target(link: &Path) -> PathBuf {
    const MAX_LINKS: usize = 8;
    let mut target = link.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else {
            break;
        };
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    target
}

pub(crate) fn io_error(path: &Path, action: &'static str, source: io::Error) -> CheckpointError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => CheckpointError::BrokenLink {
            target: last_target(&path),
            path,
        },
        io::ErrorKind::NotFound => CheckpointError::NotFound { path },
        io::ErrorKind::PermissionDenied => CheckpointError::PermissionDenied { path },
        _ => CheckpointError::Io {
            action,
            path,
            source,
        },
    }
}
