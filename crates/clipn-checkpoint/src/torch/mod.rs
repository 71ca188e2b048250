//! PyTorch's `.pt` format: a pickle that describes tensors, and the storages that they are views
//! of.
//!
//! Since PyTorch 1.6 both are entries of a zip archive; before, they follow each other in one file.
//! A TorchScript archive is such a zip archive with code beside the data.

mod legacy;
mod strided;
mod torchscript;
mod tree;
mod zip;

pub(crate) use legacy::read as read_legacy;
pub(crate) use torchscript::named_tensors;
pub(crate) use zip::read as read_zip;

use std::ops::Range;
use std::path::Path;

use crate::CheckpointError;
use crate::budget::Budget;
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::pickle::{PickleError, StorageSpec};

/// Source of the bytes of storages.
trait StorageSource {
    /// Returns the bytes of the storage that `spec` describes, with exactly the declared length.
    fn storage(
        &mut self,
        spec: &StorageSpec<'_>,
        budget: &mut Budget,
    ) -> Result<(FileBytes, Range<usize>), CheckpointError>;
}

/// Converts the error of a pickle in `part` of the file that begins at byte `start`.
pub(crate) fn pickle_error(
    path: &Path,
    part: &str,
    start: usize,
    error: PickleError,
) -> CheckpointError {
    let path = path.to_owned();
    match error {
        PickleError::Truncated => CheckpointError::Truncated {
            path,
            reason: format!("unexpected end of {part}"),
        },
        PickleError::Corrupt { at, reason } => CheckpointError::Corrupt {
            path,
            location: format!("{part}, byte {}", start + at),
            reason,
        },
        PickleError::Refused { global } => CheckpointError::DisallowedGlobal { path, global },
        PickleError::Tensor { class, name } => CheckpointError::UnsupportedTensorClass {
            path,
            tensor: name,
            class: escape_for_display(&class.name),
            hint: class.advice,
        },
        PickleError::Exhausted => CheckpointError::TooLarge {
            path,
            item: format!("objects in {part}"),
        },
    }
}
