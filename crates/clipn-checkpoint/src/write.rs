//! Writing safetensors so that a kill at any instant leaves either the old file or the new one whole.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ::safetensors::Dtype as StoredDtype;
use ::safetensors::tensor::TensorInfo;
use serde::Serializer;
use serde::ser::SerializeMap;

use super::cast::{Overflow, cast};
use super::error::shown;
use super::{CheckpointError, Dtype, FloatType, Tensor};
use clipn_base::progress::{Progress, Silent};

/// The longest header the format allows.
const LONGEST_HEADER: usize = 100_000_000;
/// Bytes of a tensor that are written at a time, a multiple of every element's.
const PIECE: usize = 4 << 20;
/// The key that stands for the texts, and so cannot name a tensor.
const METADATA: &str = "__metadata__";

/// Writes tensors and texts as a safetensors file: beside `path` first, synced to disk, then renamed over it. The
/// same content gives the same bytes. Tensors of larger elements come first, so that each is aligned to its own
/// size; within one size their order is kept. No tensor is copied: each goes to the file from where it lies.
///
/// # Errors
/// [`CheckpointError::Unwritable`] for a name that stands twice or is reserved and for a header above 100 MB; those
/// of the file system otherwise. Nothing is left beside `path` on an error, and `path` stays as it was.
pub fn write_safetensors(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let entry = |(name, tensor)| Entry {
        name,
        tensor,
        float: None,
    };
    write_entries(
        path,
        tensors.into_iter().map(entry).collect(),
        metadata,
        &Silent,
    )
}

/// A tensor to be written.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    pub tensor: Tensor,
    /// The type of the elements in the file, where they are floating-point numbers; `None` keeps their own.
    pub float: Option<FloatType>,
}

impl Entry {
    /// The other type that the elements get.
    fn cast(&self) -> Option<FloatType> {
        let own = self.tensor.dtype();
        self.float.filter(|to| own.is_float() && to.dtype() != own)
    }

    /// The type of the elements in the file.
    pub fn dtype(&self) -> Dtype {
        self.cast().map_or(self.tensor.dtype(), FloatType::dtype)
    }

    /// Bytes in the file.
    fn len(&self) -> usize {
        self.tensor.len() * self.dtype().size()
    }
}

/// As [`write_safetensors`], with elements cast on their way to the file, a piece at a time.
///
/// # Errors
/// As there; [`CheckpointError::Overflow`]; and [`CheckpointError::Cancelled`].
pub fn write_entries(
    path: &Path,
    mut entries: Vec<Entry>,
    metadata: &BTreeMap<String, String>,
    progress: &dyn Progress,
) -> Result<(), CheckpointError> {
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.dtype().size()));
    let header = header(path, &entries, metadata)?;
    let beside = beside(path);
    progress.begin(
        "bytes written",
        entries.iter().map(|entry| entry.len() as u64).sum(),
    );
    let written =
        write(&beside, &header, &entries, progress).and_then(|()| Ok(fs::rename(&beside, path)?));
    progress.end();
    if written.is_err() {
        // The error at hand says what went wrong; a second one about the leftover would hide it.
        let _ = fs::remove_file(&beside);
    }
    written
        .and_then(|()| Ok(sync_folder(path)?))
        .map_err(|failure| failure.at(path))
}

/// Why writing stopped.
enum Failure {
    Io(io::Error),
    Overflow {
        tensor: String,
        value: f64,
        to: FloatType,
    },
    Cancelled,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl Failure {
    fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Failure::Io(source) => CheckpointError::Io {
                action: "write",
                path,
                source,
            },
            Failure::Overflow { tensor, value, to } => CheckpointError::Overflow {
                path,
                tensor: shown(&tensor),
                value,
                to,
                largest: to.largest(),
            },
            Failure::Cancelled => CheckpointError::Cancelled { path },
        }
    }
}

/// The header's JSON with the texts first, padded so that the tensors begin at a multiple of eight.
fn header(
    path: &Path,
    entries: &[Entry],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let unwritable = |what: String| CheckpointError::Unwritable {
        path: path.to_owned(),
        what,
    };
    let mut names = HashSet::new();
    for Entry { name, .. } in entries {
        if name == METADATA {
            return Err(unwritable(format!(
                "the name {METADATA} is reserved; rename the tensor"
            )));
        }
        if !names.insert(name) {
            return Err(unwritable(format!(
                "the name {} stands twice; rename one tensor",
                shown(name)
            )));
        }
    }
    let mut json = serialize(entries, metadata).map_err(|error| unwritable(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() > LONGEST_HEADER {
        return Err(unwritable(format!(
            "names and metadata take {} bytes, above 100 million",
            json.len()
        )));
    }
    Ok(json)
}

fn serialize(
    entries: &[Entry],
    metadata: &BTreeMap<String, String>,
) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    let mut map = serializer.serialize_map(None)?;
    if !metadata.is_empty() {
        map.serialize_entry(METADATA, metadata)?;
    }
    let mut offset = 0;
    for entry in entries {
        let end = offset + entry.len();
        let dtype = stored(entry.dtype());
        map.serialize_entry(
            &entry.name,
            &TensorInfo {
                dtype,
                shape: entry.tensor.shape().to_vec(),
                data_offsets: (offset, end),
            },
        )?;
        offset = end;
    }
    map.end()?;
    Ok(json)
}

fn stored(dtype: Dtype) -> StoredDtype {
    match dtype {
        Dtype::F16 => StoredDtype::F16,
        Dtype::Bf16 => StoredDtype::BF16,
        Dtype::F32 => StoredDtype::F32,
        Dtype::F64 => StoredDtype::F64,
        Dtype::I64 => StoredDtype::I64,
        Dtype::I32 => StoredDtype::I32,
        Dtype::I16 => StoredDtype::I16,
        Dtype::I8 => StoredDtype::I8,
        Dtype::U8 => StoredDtype::U8,
        Dtype::Bool => StoredDtype::BOOL,
    }
}

/// A name in the same folder that no other writer uses.
pub fn beside(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let count = WRITES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()))
}

fn write(
    beside: &Path,
    header: &[u8],
    entries: &[Entry],
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(beside)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    let mut writer = io::BufWriter::with_capacity(1 << 20, &file);
    for entry in entries {
        let cast_to = entry.cast();
        for piece in entry.tensor.bytes().chunks(PIECE) {
            if progress.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            match cast_to {
                None => writer.write_all(piece)?,
                Some(to) => {
                    let cast =
                        cast(entry.tensor.dtype(), piece, to).map_err(|Overflow(value)| {
                            Failure::Overflow {
                                tensor: entry.name.clone(),
                                value,
                                to,
                            }
                        })?;
                    writer.write_all(&cast)?;
                }
            }
            let (from, to) = (entry.tensor.dtype().size(), entry.dtype().size());
            progress.advance((piece.len() / from * to) as u64);
        }
        // What lies in another file would else stay in memory for having been copied.
        entry.tensor.release();
    }
    writer.flush()?;
    drop(writer);
    Ok(file.sync_all()?)
}

/// Makes a rename to `path` last.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
