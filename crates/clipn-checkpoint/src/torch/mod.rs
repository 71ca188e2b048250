//! PyTorch's `.pt` format: a pickle that describes tensors, and the storages that they are views
//! of.
//!
//! Since PyTorch 1.6 both are entries of a zip archive; before, they follow each other in one file.
//! A TorchScript archive is such a zip archive with code beside the data.

mod legacy;
mod script;
mod strided;
mod tree;
mod zip;

pub(crate) use legacy::read as read_legacy;
pub(crate) use script::named_tensors;
pub(crate) use zip::read as read_zip;

use std::ops::Range;
use std::path::Path;

use super::CheckpointError;
use super::buffer::Bytes;
use super::pickle::{PickleError, StorageSpec};

/// Source of the bytes of storages.
trait Storages {
    /// Returns the bytes of the storage that `spec` describes, with exactly the declared length.
    fn find(
        &mut self,
        spec: &StorageSpec<'_>,
        budget: &mut super::budget::Budget,
    ) -> Result<(Bytes, Range<usize>), CheckpointError>;
}

/// Converts the error of a pickle in `part` of the file that begins at byte `start`.
fn pickle_error(path: &Path, part: &str, start: usize, error: PickleError) -> CheckpointError {
    let path = path.to_owned();
    match error {
        PickleError::Truncated => CheckpointError::Truncated {
            path,
            what: format!("unexpected end of {part}"),
        },
        PickleError::Corrupt { at, what } => CheckpointError::Corrupt {
            path,
            place: format!("{part}, byte {}", start + at),
            what,
        },
        PickleError::Refused { global } => CheckpointError::DisallowedGlobal { path, global },
        PickleError::Exhausted => CheckpointError::TooLarge {
            path,
            what: format!("objects in {part}"),
        },
    }
}
