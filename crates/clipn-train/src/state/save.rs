//! Atomic writing of a checkpoint: write to a temporary directory, sync, rename.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clipn_base::files::{self, NewDirectory};
use clipn_checkpoint::{Tensor, write_safetensors};
use clipn_model::{Real, WeightsMetadata};

use super::moments;
use super::{
    CheckpointLabel, FileRecord, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, STATE_FORMAT_VERSION,
    StateError, TrainingState,
};
use crate::optimizer::AdamW;

/// Contents of a checkpoint to save.
#[derive(Debug)]
pub struct CheckpointContents<'a, T: Real> {
    /// Training state; saving fills in its format and files.
    pub state: &'a TrainingState,
    /// Every weight, trained or frozen, by open_clip's names.
    pub model: Vec<(String, Tensor)>,
    /// Metadata for the weights file.
    pub notes: WeightsMetadata,
    /// Optimizer with its moments.
    pub optimizer: &'a AdamW<T>,
}

/// Writes `root/label`, replacing an existing checkpoint of that label.
pub(super) fn save<T: Real>(
    root: &Path,
    label: CheckpointLabel,
    contents: CheckpointContents<'_, T>,
) -> Result<PathBuf, StateError> {
    let target = root.join(label.to_string());
    let save = || {
        let new = NewDirectory::create(&target)
            .map_err(StateError::io("create the directory", &target))?;
        write(new.path(), contents)?;
        new.commit().map_err(StateError::io("write", &target))
    };
    match save() {
        Ok(()) => Ok(target),
        Err(error) => Err(StateError::Save {
            path: target.clone(),
            source: Box::new(error),
        }),
    }
}

fn write<T: Real>(dir: &Path, contents: CheckpointContents<'_, T>) -> Result<(), StateError> {
    let mut state = contents.state.clone();
    state.format = STATE_FORMAT_VERSION;
    state.files = BTreeMap::new();
    write_safetensors(
        dir.join(MODEL_FILE),
        contents.model,
        &contents.notes.to_metadata(),
    )?;
    let moments = moments::tensors(contents.optimizer)?;
    write_safetensors(dir.join(OPTIMIZER_FILE), moments, &BTreeMap::new())?;
    for name in [MODEL_FILE, OPTIMIZER_FILE] {
        let path = dir.join(name);
        let record = FileRecord::from_file(&path).map_err(StateError::io("read back", &path))?;
        state.files.insert(name.to_owned(), record);
    }
    write_state(&dir.join(STATE_FILE), &state)
}

fn write_state(path: &Path, state: &TrainingState) -> Result<(), StateError> {
    let bad = |error: serde_json::Error| StateError::InvalidState {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let mut json = serde_json::to_vec_pretty(state).map_err(bad)?;
    json.push(b'\n');
    files::replace(path, json).map_err(StateError::io("write", path))
}
