//! Reading safetensors: the header is checked whole by the `safetensors` crate, the tensors borrow the file.

use std::path::Path;

use ::safetensors::tensor::{Metadata, SafeTensorError};
use ::safetensors::{Dtype as StoredDtype, SafeTensors};
use indexmap::IndexMap;

use super::budget::{Budget, Exhausted};
use super::buffer::Bytes;
use super::error::shown;
use super::{CheckpointError, Dtype, Tensor};

/// Bytes before the header: its length.
const PREFIX: usize = 8;

/// Bytes that a byte of the header may cost: a tensor is described in some sixty, and has names and shapes of its own.
const OF_HEADER: usize = 16;

/// A file's tensors in the order of their bytes, and its `__metadata__` sorted by key.
pub(crate) type Content = (IndexMap<String, Tensor>, IndexMap<String, String>);

pub(crate) fn read(
    path: &Path,
    bytes: &Bytes,
    budget: &mut Budget,
) -> Result<Content, CheckpointError> {
    let file = bytes.as_slice();
    let told = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    let header = usize::try_from(told).unwrap_or(usize::MAX).min(file.len());
    budget
        .charge(header.saturating_mul(OF_HEADER))
        .map_err(|Exhausted| CheckpointError::TooLarge {
            path: path.to_owned(),
            what: "the tensors that the header describes".to_owned(),
        })?;
    let (header, metadata) =
        SafeTensors::read_metadata(file).map_err(|error| explain(path, file, error))?;
    let data = PREFIX + header;
    let mut tensors = IndexMap::new();
    for name in metadata.offset_keys() {
        let tensor = tensor(path, bytes, data, &metadata, &name)?;
        tensors.insert(name, tensor);
    }
    let mut texts: IndexMap<String, String> = metadata
        .metadata()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    texts.sort_unstable_keys();
    Ok((tensors, texts))
}

fn tensor(
    path: &Path,
    bytes: &Bytes,
    data: usize,
    metadata: &Metadata,
    name: &str,
) -> Result<Tensor, CheckpointError> {
    let corrupt = || {
        corrupt(
            path,
            format!("tensor {}", shown(name)),
            "its shape, type and bytes do not agree",
        )
    };
    let info = metadata.info(name).ok_or_else(corrupt)?;
    let dtype = supported(info.dtype).ok_or_else(|| CheckpointError::UnsupportedDtype {
        path: path.to_owned(),
        tensor: shown(name),
        dtype: info.dtype.to_string(),
    })?;
    let (start, end) = info.data_offsets;
    Tensor::over(dtype, info.shape.clone(), bytes, data + start..data + end).ok_or_else(corrupt)
}

fn supported(dtype: StoredDtype) -> Option<Dtype> {
    Some(match dtype {
        StoredDtype::F16 => Dtype::F16,
        StoredDtype::BF16 => Dtype::Bf16,
        StoredDtype::F32 => Dtype::F32,
        StoredDtype::F64 => Dtype::F64,
        StoredDtype::I64 => Dtype::I64,
        StoredDtype::I32 => Dtype::I32,
        StoredDtype::I16 => Dtype::I16,
        StoredDtype::I8 => Dtype::I8,
        StoredDtype::U8 => Dtype::U8,
        StoredDtype::BOOL => Dtype::Bool,
        _ => return None,
    })
}

fn explain(path: &Path, file: &[u8], error: SafeTensorError) -> CheckpointError {
    let header = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    let truncated = |what| CheckpointError::Truncated {
        path: path.to_owned(),
        what,
    };
    match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => truncated(
            format!("the header has {header} bytes, and the file {}", file.len()),
        ),
        SafeTensorError::HeaderTooLarge => corrupt(
            path,
            "the header's length".to_owned(),
            &format!("{header} bytes, where the format allows 100 million"),
        ),
        SafeTensorError::MetadataIncompleteBuffer => {
            truncated("the header describes more or fewer bytes than follow it".to_owned())
        }
        SafeTensorError::InvalidOffset(name) => corrupt(
            path,
            format!("tensor {}", shown(&name)),
            "its bytes overlap another tensor's or leave a gap before them",
        ),
        other => corrupt(path, "the header".to_owned(), &shown(&other.to_string())),
    }
}

fn corrupt(path: &Path, place: String, what: &str) -> CheckpointError {
    CheckpointError::Corrupt {
        path: path.to_owned(),
        place,
        what: what.to_owned(),
    }
}
