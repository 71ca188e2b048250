//! Atomic writing of a checkpoint: write to a temporary directory, sync, rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clipn_checkpoint::{Tensor, write_safetensors};
use clipn_model::{Real, WeightsMetadata};

use super::moments;
use super::{
    CheckpointLabel, FileRecord, MODEL_FILE, OPTIMIZER_FILE, PARTIAL_SUFFIX, REPLACED_SUFFIX,
    STATE_FILE, STATE_FORMAT_VERSION, StateError, TrainingState,
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
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let target = root.join(label.to_string());
    let count = SAVES.fetch_add(1, Ordering::Relaxed);
    let temporary = root.join(format!(
        ".{label}.{}-{count}{PARTIAL_SUFFIX}",
        std::process::id()
    ));
    let saved =
        write(&temporary, contents).and_then(|()| replace(root, label, &temporary, &target));
    match saved {
        Ok(()) => Ok(target),
        Err(error) => {
            // An error of this cleanup would hide the error that matters.
            let _ = fs::remove_dir_all(&temporary);
            Err(StateError::Save {
                path: target,
                source: Box::new(error),
            })
        }
    }
}

fn write<T: Real>(dir: &Path, contents: CheckpointContents<'_, T>) -> Result<(), StateError> {
    fs::create_dir_all(dir).map_err(StateError::io("create the directory", dir))?;
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
    write_state(&dir.join(STATE_FILE), &state)?;
    sync(dir)
}

fn write_state(path: &Path, state: &TrainingState) -> Result<(), StateError> {
    let bad = |error: serde_json::Error| StateError::InvalidState {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let mut json = serde_json::to_vec_pretty(state).map_err(bad)?;
    json.push(b'\n');
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(&json)?;
        file.sync_all()
    });
    written.map_err(StateError::io("write", path))
}

/// Renames the finished directory to its label. An existing one of that label is first renamed and
/// removed last; after a kill in between, [`CheckpointStore::open`](super::CheckpointStore::open)
/// restores it.
fn replace(
    root: &Path,
    label: CheckpointLabel,
    temporary: &Path,
    target: &Path,
) -> Result<(), StateError> {
    let replaced = root.join(format!(".{label}{REPLACED_SUFFIX}"));
    let replaces = target.exists();
    if replaces {
        if replaced.exists() {
            fs::remove_dir_all(&replaced).map_err(StateError::io("remove", &replaced))?;
        }
        fs::rename(target, &replaced).map_err(StateError::io("rename", target))?;
    }
    if let Err(error) = fs::rename(temporary, target) {
        if replaces {
            // Restore the old checkpoint; if that fails too, recovery at the next start does it.
            let _ = fs::rename(&replaced, target);
        }
        return Err(StateError::io("rename to", target)(error));
    }
    sync(root)?;
    if replaces {
        fs::remove_dir_all(&replaced).map_err(StateError::io("remove", &replaced))?;
    }
    Ok(())
}

/// Syncs a directory's entries to disk.
pub(super) fn sync(dir: &Path) -> Result<(), StateError> {
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(StateError::io("sync", dir))?;
    }
    Ok(())
}
