use std::path::Path;

use super::{FileRecord, MODEL_FILE, OPTIMIZER_FILE, StateError, TrainingState, moments};
use clipn_checkpoint::Checkpoint;
use clipn_model::Real;
use crate::AdamW;

/// A training checkpoint that has been read and verified.
#[derive(Debug)]
pub struct TrainingCheckpoint<T: Real> {
    /// The state.
    pub state: TrainingState,
    /// The weights, memory-mapped.
    pub model: Checkpoint,
    /// The optimizer with its moments, which stay in the mapped file until the first step.
    pub optimizer: AdamW<T>,
}

impl<T: Real> TrainingCheckpoint<T> {
    /// Reads a `step-N` or `epoch-N` folder: the state's format and form, each file's length and CRC-32, and the
    /// moments' shapes against the weights'.
    ///
    /// # Errors
    /// See [`StateError`]: no checkpoint, of another format, damaged, or parts that do not belong together.
    pub fn load(folder: &Path) -> Result<Self, StateError> {
        let state = TrainingState::read(folder)?;
        for name in [MODEL_FILE, OPTIMIZER_FILE] {
            verify(folder, name, &state)?;
        }
        let model = Checkpoint::open(&folder.join(MODEL_FILE))?;
        let optimizer = Checkpoint::open(&folder.join(OPTIMIZER_FILE))?;
        let optimizer = moments::restore(&optimizer, &model, state.optimizer)?;
        Ok(Self {
            state,
            model,
            optimizer,
        })
    }
}

/// Holds a file against what the state says was written.
fn verify(folder: &Path, name: &str, state: &TrainingState) -> Result<(), StateError> {
    let path = folder.join(name);
    let damaged = |what: String| StateError::Damaged {
        path: path.clone(),
        what,
    };
    let Some(written) = state.files.get(name) else {
        return Err(damaged(
            "the state beside it has no record of it".to_owned(),
        ));
    };
    let found = FileRecord::of(&path).map_err(StateError::io("read", &path))?;
    if found.bytes != written.bytes {
        return Err(damaged(format!(
            "it has {} bytes of {}",
            found.bytes, written.bytes
        )));
    }
    if found.crc32 != written.crc32 {
        return Err(damaged(format!(
            "its CRC-32 is {:08x}, not {:08x}",
            found.crc32, written.crc32
        )));
    }
    Ok(())
}
