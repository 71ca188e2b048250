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

use super::error::shown;
use super::{CheckpointError, Dtype, Tensor};

/// The longest header the format allows.
const LONGEST_HEADER: usize = 100_000_000;
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
    let mut tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));
    let header = header(path, &tensors, metadata)?;
    let beside = beside(path);
    let written = write(&beside, &header, &tensors).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The error at hand says what went wrong; a second one about the leftover would hide it.
        let _ = fs::remove_file(&beside);
    }
    written.and_then(|()| sync_folder(path)).map_err(|source| CheckpointError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// The header's JSON with the texts first, padded so that the tensors begin at a multiple of eight.
fn header(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let unwritable = |what: String| CheckpointError::Unwritable { path: path.to_owned(), what };
    let mut names = HashSet::new();
    for (name, _) in tensors {
        if name == METADATA {
            return Err(unwritable(format!("the name {METADATA} is reserved; rename the tensor")));
        }
        if !names.insert(name) {
            return Err(unwritable(format!("the name {} stands twice; rename one tensor", shown(name))));
        }
    }
    let mut json = serialize(tensors, metadata).map_err(|error| unwritable(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() > LONGEST_HEADER {
        return Err(unwritable(format!("names and metadata take {} bytes, above 100 million", json.len())));
    }
    Ok(json)
}

fn serialize(
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    let mut map = serializer.serialize_map(None)?;
    if !metadata.is_empty() {
        map.serialize_entry(METADATA, metadata)?;
    }
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + tensor.bytes().len();
        let dtype = stored(tensor.dtype());
        map.serialize_entry(
            name,
            &TensorInfo { dtype, shape: tensor.shape().to_vec(), data_offsets: (offset, end) },
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
fn beside(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let count = WRITES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()))
}

fn write(beside: &Path, header: &[u8], tensors: &[(String, Tensor)]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    let mut writer = io::BufWriter::with_capacity(1 << 20, &file);
    for (_, tensor) in tensors {
        writer.write_all(tensor.bytes())?;
        // What lies in another file would else stay in memory for having been copied.
        tensor.release();
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()
}

/// Makes the rename itself last.
fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
