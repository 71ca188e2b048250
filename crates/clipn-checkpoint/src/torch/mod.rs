//! PyTorch's `.pt`: a pickle that describes tensors, and the storages they are views of, as entries of a zip archive
//! (since PyTorch 1.6) or one after the other in the same file (before). A TorchScript archive is of the first form,
//! with the program beside the data.

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

/// Where the bytes of storages lie.
trait Storages {
    /// The bytes of the storage that `spec` names, exactly as long as it says.
    fn find(
        &mut self,
        spec: &StorageSpec<'_>,
        budget: &mut super::budget::Budget,
    ) -> Result<(Bytes, Range<usize>), CheckpointError>;
}

/// The error of a pickle that stands in `part` of the file, from its byte `start` on.
fn pickle_error(path: &Path, part: &str, start: usize, error: PickleError) -> CheckpointError {
    let path = path.to_owned();
    match error {
        PickleError::Truncated => CheckpointError::Truncated {
            path,
            what: format!("{part} ends too early"),
        },
        PickleError::Corrupt { at, what } => CheckpointError::Corrupt {
            path,
            place: format!("{part}, byte {}", start + at),
            what,
        },
        PickleError::Refused { global } => CheckpointError::RefusedGlobal { path, global },
        PickleError::Exhausted => CheckpointError::TooLarge {
            path,
            what: format!("the objects in {part}"),
        },
    }
}
