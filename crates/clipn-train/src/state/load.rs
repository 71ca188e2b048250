use std::path::Path;

use clipn_checkpoint::Checkpoint;
use clipn_model::Real;

use super::{FileRecord, MODEL_FILE, OPTIMIZER_FILE, StateError, TrainingState, moments};
use crate::optimizer::AdamW;

/// A training checkpoint that was read and verified.
#[derive(Debug)]
pub struct TrainingCheckpoint<T: Real> {
    /// Training state from `state.json`.
    pub state: TrainingState,
    /// Weights, memory-mapped.
    pub model: Checkpoint,
    /// Optimizer with its moments, which stay in the mapped file until the first step.
    pub optimizer: AdamW<T>,
}

impl<T: Real> TrainingCheckpoint<T> {
    /// Reads a `step-N` or `epoch-N` directory. Verifies the state's format, each file's length and
    /// CRC-32, and the moments' shapes against the weights'.
    ///
    /// # Errors
    /// [`StateError`] if the directory is not a checkpoint, has another format, is corrupt, or its
    /// files do not match.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, StateError> {
        let dir = dir.as_ref();
        let state = TrainingState::read(dir)?;
        for name in [MODEL_FILE, OPTIMIZER_FILE] {
            verify(dir, name, &state)?;
        }
        let model = Checkpoint::open(dir.join(MODEL_FILE))?;
        let optimizer = Checkpoint::open(dir.join(OPTIMIZER_FILE))?;
        let optimizer = moments::restore(&optimizer, &model, state.optimizer)?;
        Ok(Self {
            state,
            model,
            optimizer,
        })
    }
}

/// Checks a file against its record in the state.
fn verify(dir: &Path, name: &str, state: &TrainingState) -> Result<(), StateError> {
    let path = dir.join(name);
    let corrupt = |what: String| StateError::Corrupt {
        path: path.clone(),
        what,
    };
    let Some(written) = state.files.get(name) else {
        return Err(corrupt("state.json has no record of it".to_owned()));
    };
    let found = FileRecord::from_file(&path).map_err(StateError::io("read", &path))?;
    if found.bytes != written.bytes {
        return Err(corrupt(format!(
            "expected {} bytes, got {}",
            written.bytes, found.bytes
        )));
    }
    if found.crc32 != written.crc32 {
        return Err(corrupt(format!(
            "expected CRC-32 {:08x}, got {:08x}",
            written.crc32, found.crc32
        )));
    }
    Ok(())
}
