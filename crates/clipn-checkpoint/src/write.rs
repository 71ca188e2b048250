//! Atomic writing of safetensors files: a process killed at any time leaves either the old or the
//! new file complete.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use ::safetensors::Dtype as StoredDtype;
use ::safetensors::tensor::TensorInfo;
use serde::Serializer;
use serde::ser::SerializeMap;

use clipn_base::files::{ChangedFile, NewFile};
use clipn_base::progress::{NoProgress, Progress};

use crate::cast::{Overflow, cast};
use crate::error::escape_for_display;
use crate::{CheckpointError, Dtype, FloatType, Tensor, quantization};

/// Maximum header size in bytes that the format allows.
const MAX_HEADER_SIZE: usize = 100_000_000;
/// Bytes written at a time, a multiple of every element size.
const CHUNK_SIZE: usize = 4 << 20;
/// Header key of the metadata, which therefore cannot name a tensor.
const METADATA: &str = "__metadata__";

/// Writes tensors and metadata as a safetensors file. The data goes to a temporary file in the same
/// directory, is synced to disk, and then renamed to `path` ([`NewFile`]): a link stays one, and the
/// permissions of a replaced file are kept. The same content gives the same bytes.
/// Tensors with larger elements come first, so that each is aligned to its element size; tensors of
/// the same element size keep their order. Tensors are written without an intermediate copy; those of
/// [`Tensor::from_scaled_integers`] as integers and, named `….scale`, their factors.
///
/// # Errors
/// [`CheckpointError::InvalidTensors`] if a name is duplicate or reserved, also as that of factors, or if the
/// header exceeds 100 MB; [`CheckpointError::Changed`] if the file of a tensor is changed meanwhile; other variants for I/O errors. After an error no temporary file is left, and `path` is
/// unchanged.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let entries = tensors.into_iter().map(TensorEntry::from);
    write_safetensors_with_progress(path, entries, metadata, &NoProgress)
}

/// Tensor to write with [`write_safetensors_with_progress`].
#[derive(Debug, Clone)]
pub struct TensorEntry {
    /// Name of the tensor, unique in the file.
    pub name: String,
    /// Elements and shape.
    pub tensor: Tensor,
    /// Type to which floating-point elements are cast; `None` keeps the stored type.
    pub cast_to: Option<FloatType>,
}

impl From<(String, Tensor)> for TensorEntry {
    fn from((name, tensor): (String, Tensor)) -> TensorEntry {
        TensorEntry {
            name,
            tensor,
            cast_to: None,
        }
    }
}

impl TensorEntry {
    /// Returns the type to cast to, or `None` if no cast is needed.
    fn cast(&self) -> Option<FloatType> {
        let own = self.tensor.dtype();
        self.cast_to
            .filter(|to| own.is_float() && to.dtype() != own)
    }

    /// Splits integers with factors into the two tensors that store them, unless their products are
    /// to be cast.
    fn stored_parts(self) -> Vec<TensorEntry> {
        let parts = match self.cast_to {
            Some(_) => None,
            None => self.tensor.scaled_parts(),
        };
        match parts {
            Some((integers, scales)) => vec![
                TensorEntry::from((quantization::scales_name(&self.name), scales)),
                TensorEntry::from((self.name, integers)),
            ],
            None => vec![self],
        }
    }

    /// Returns the element type in the file.
    pub fn dtype(&self) -> Dtype {
        self.cast().map_or(self.tensor.dtype(), FloatType::dtype)
    }

    /// Returns the size in the file, in bytes.
    fn size(&self) -> usize {
        self.tensor.len() * self.dtype().size()
    }
}

/// Same as [`write_safetensors`], but reports progress in bytes, can be cancelled, and casts
/// elements while writing, one chunk at a time.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use clipn_base::progress::NoProgress;
/// use clipn_checkpoint::{
///     Checkpoint, Dtype, FloatType, Tensor, TensorEntry, write_safetensors_with_progress,
/// };
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("half.safetensors");
/// let entry = TensorEntry {
///     name: "proj".to_owned(),
///     tensor: Tensor::from_f32(&[2], vec![0.5, 65504.0])?,
///     cast_to: Some(FloatType::F16),
/// };
/// write_safetensors_with_progress(&path, [entry], &BTreeMap::new(), &NoProgress)?;
/// assert_eq!(Checkpoint::open(&path)?.get("proj").map(Tensor::dtype), Some(Dtype::F16));
/// # Ok::<(), clipn_checkpoint::CheckpointError>(())
/// ```
///
/// # Errors
/// Same as [`write_safetensors`], and [`CheckpointError::Overflow`] or
/// [`CheckpointError::Cancelled`].
pub fn write_safetensors_with_progress(
    path: impl AsRef<Path>,
    entries: impl IntoIterator<Item = TensorEntry>,
    metadata: &BTreeMap<String, String>,
    progress: &dyn Progress,
) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let entries: Vec<TensorEntry> = entries.into_iter().collect();
    if let Some(name) = scales_by_chance(&entries) {
        return Err(CheckpointError::InvalidTensors {
            path: path.to_owned(),
            reason: format!(
                "the tensor {} would be read as the factors of the 8-bit integers beside it",
                escape_for_display(name)
            ),
        });
    }
    let mut entries: Vec<TensorEntry> = entries
        .into_iter()
        .flat_map(TensorEntry::stored_parts)
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.dtype().size()));
    let header = header(path, &entries, metadata)?;
    let mut file = NewFile::create(path).map_err(|error| Failure::Io(error).with_path(path))?;
    progress.begin(
        "bytes written",
        entries.iter().map(|entry| entry.size() as u64).sum(),
    );
    let result = write(&mut file, &header, &entries, progress).and_then(|()| Ok(file.commit()?));
    progress.end();
    result.map_err(|failure| failure.with_path(path))
}

/// Returns the name of a tensor that has the name of another one's factors, and would be joined with it when the file
/// is read.
fn scales_by_chance(entries: &[TensorEntry]) -> Option<&str> {
    let names: HashSet<&str> = entries.iter().map(|entry| &*entry.name).collect();
    let integers = entries.iter().filter(|entry| entry.dtype() == Dtype::I8);
    integers
        .map(|entry| quantization::scales_name(&entry.name))
        .find_map(|name| names.get(&*name).copied())
}

/// Reason why writing stopped.
enum Failure {
    Io(io::Error),
    Overflow {
        tensor: String,
        value: f64,
        to: FloatType,
    },
    Cancelled,
    Changed(ChangedFile),
}

impl From<ChangedFile> for Failure {
    fn from(changed: ChangedFile) -> Failure {
        Failure::Changed(changed)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl Failure {
    fn with_path(self, path: &Path) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Failure::Io(source) => CheckpointError::Io {
                action: "write",
                path,
                source,
            },
            Failure::Overflow { tensor, value, to } => CheckpointError::Overflow {
                path,
                tensor: escape_for_display(&tensor),
                value,
                to,
                max: to.max_value(),
            },
            Failure::Cancelled => CheckpointError::Cancelled { path },
            Failure::Changed(changed) => changed.into(),
        }
    }
}

/// Returns the JSON header with the metadata first, padded so that the data begins at a multiple of
/// 8.
fn header(
    path: &Path,
    entries: &[TensorEntry],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let invalid = |reason: String| CheckpointError::InvalidTensors {
        path: path.to_owned(),
        reason,
    };
    let mut names = HashSet::new();
    for TensorEntry { name, .. } in entries {
        if name == METADATA {
            return Err(invalid(format!("reserved tensor name {METADATA}")));
        }
        if !names.insert(name) {
            return Err(invalid(format!(
                "duplicate tensor name {}",
                escape_for_display(name)
            )));
        }
    }
    let mut json = serialize(entries, metadata).map_err(|error| invalid(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() > MAX_HEADER_SIZE {
        return Err(invalid(format!(
            "a header of {} bytes exceeds the maximum of 100 million",
            json.len()
        )));
    }
    Ok(json)
}

fn serialize(
    entries: &[TensorEntry],
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
        let end = offset + entry.size();
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

fn write(
    file: &mut NewFile,
    header: &[u8],
    entries: &[TensorEntry],
    progress: &dyn Progress,
) -> Result<(), Failure> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    let mut writer = io::BufWriter::with_capacity(1 << 20, file);
    for entry in entries {
        let cast_to = entry.cast();
        for chunk in entry.tensor.bytes().chunks(CHUNK_SIZE) {
            if progress.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            match cast_to {
                None => writer.write_all(chunk)?,
                Some(to) => {
                    let cast =
                        cast(entry.tensor.dtype(), chunk, to).map_err(|Overflow(value)| {
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
            progress.advance((chunk.len() / from * to) as u64);
        }
        entry.tensor.check_unchanged()?;
        // Otherwise, the pages of a source file would stay in memory after the copy.
        entry.tensor.release();
    }
    Ok(writer.flush()?)
}
