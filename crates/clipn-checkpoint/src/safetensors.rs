//! Safetensors reader. The `safetensors` crate validates the whole header; the tensors borrow the
//! file.

use std::path::Path;

use ::safetensors::tensor::{Metadata, SafeTensorError};
use ::safetensors::{Dtype as StoredDtype, SafeTensors};
use indexmap::IndexMap;

use crate::budget::{Budget, Exhausted};
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::{CheckpointError, Dtype, Tensor};

/// Size in bytes of the header length, which precedes the header.
const PREFIX: usize = 8;

/// Upper estimate of the memory in bytes that one header byte outside the strings causes: an entry
/// of a tensor or a text takes at least 5 of them, and a dimension 2.
const ENTRY_EXPANSION: usize = 32;

/// Copies of the header's strings: of the parser, and of [`Content`].
const STRING_COPIES: usize = 2;

/// Tensors in the order of their bytes, and the `__metadata__` sorted by key.
pub(crate) type Content = (IndexMap<String, Tensor>, IndexMap<String, String>);

pub(crate) fn read(
    path: &Path,
    bytes: &FileBytes,
    budget: &mut Budget,
) -> Result<Content, CheckpointError> {
    let file = bytes.as_slice();
    let declared = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    let header = usize::try_from(declared).unwrap_or(usize::MAX);
    let rest = file.get(PREFIX..).unwrap_or_default();
    budget
        .charge(header_memory(&rest[..header.min(rest.len())]))
        .map_err(|Exhausted| CheckpointError::TooLarge {
            path: path.to_owned(),
            item: "the tensors described in the header".to_owned(),
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

/// Returns an upper estimate of the memory in bytes of a parsed header. Texts of any length are
/// read, as those of bundles and class lists; tensors without data are limited.
fn header_memory(json: &[u8]) -> usize {
    let mut in_strings = 0;
    let mut inside = false;
    let mut escaped = false;
    for &byte in json {
        if inside && (escaped || byte != b'"') {
            in_strings += 1;
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            inside = !inside;
        }
    }
    let others = json.len() - in_strings;
    others
        .saturating_mul(ENTRY_EXPANSION)
        .saturating_add(in_strings.saturating_mul(STRING_COPIES))
}

fn tensor(
    path: &Path,
    bytes: &FileBytes,
    data: usize,
    metadata: &Metadata,
    name: &str,
) -> Result<Tensor, CheckpointError> {
    let corrupt = || {
        corrupt(
            path,
            format!("tensor {}", escape_for_display(name)),
            "shape, element type and data size are inconsistent",
        )
    };
    let info = metadata.info(name).ok_or_else(corrupt)?;
    let dtype = supported(info.dtype).ok_or_else(|| CheckpointError::UnsupportedDtype {
        path: path.to_owned(),
        tensor: escape_for_display(name),
        dtype: info.dtype.to_string(),
    })?;
    let (start, end) = info.data_offsets;
    Tensor::from_range(dtype, info.shape.clone(), bytes, data + start..data + end)
        .ok_or_else(corrupt)
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
    let truncated = |reason| CheckpointError::Truncated {
        path: path.to_owned(),
        reason,
    };
    match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            truncated(format!(
                "the header has {header} bytes, but the file only {}",
                file.len()
            ))
        }
        SafeTensorError::HeaderTooLarge => corrupt(
            path,
            "the header length".to_owned(),
            &format!("{header} bytes exceed the maximum of 100 million"),
        ),
        SafeTensorError::MetadataIncompleteBuffer => {
            truncated("the data size differs from the header".to_owned())
        }
        SafeTensorError::InvalidOffset(name) => corrupt(
            path,
            format!("tensor {}", escape_for_display(&name)),
            "its data overlaps another tensor or leaves a gap before it",
        ),
        other => corrupt(
            path,
            "the header".to_owned(),
            &escape_for_display(&other.to_string()),
        ),
    }
}

fn corrupt(path: &Path, location: String, reason: &str) -> CheckpointError {
    CheckpointError::Corrupt {
        path: path.to_owned(),
        location,
        reason: reason.to_owned(),
    }
}
