//! Writing a checkpoint's folder: beside, synced, renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::moments;
use super::store::{PARTIAL, REPLACED};
use super::{
    FileRecord, Label, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, STATE_FORMAT, StateError,
    TrainingState,
};
use clipn_checkpoint::{Tensor, write_safetensors};
use clipn_model::{Real, WeightsNotes};
use crate::AdamW;

/// What is saved.
#[derive(Debug)]
pub struct Snapshot<'a, T: Real> {
    /// The state; its format and list of files are filled in.
    pub state: &'a TrainingState,
    /// Every weight, trained or not, by open_clip's names.
    pub model: Vec<(String, Tensor)>,
    /// What the weights file tells of itself.
    pub notes: WeightsNotes,
    /// The optimizer.
    pub optimizer: &'a AdamW<T>,
}

/// Writes `root/label`, replacing one that is there.
pub(super) fn save<T: Real>(
    root: &Path,
    label: Label,
    snapshot: Snapshot<'_, T>,
) -> Result<PathBuf, StateError> {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let target = root.join(label.to_string());
    let count = SAVES.fetch_add(1, Ordering::Relaxed);
    let beside = root.join(format!(".{label}.{}-{count}{PARTIAL}", std::process::id()));
    let saved = write(&beside, snapshot).and_then(|()| put(root, label, &beside, &target));
    match saved {
        Ok(()) => Ok(target),
        Err(error) => {
            // The error at hand says what went wrong; a second one about the leftover would hide it.
            let _ = fs::remove_dir_all(&beside);
            Err(StateError::Save {
                path: target,
                source: Box::new(error),
            })
        }
    }
}

fn write<T: Real>(folder: &Path, snapshot: Snapshot<'_, T>) -> Result<(), StateError> {
    fs::create_dir_all(folder).map_err(StateError::io("make the folder", folder))?;
    let mut state = snapshot.state.clone();
    state.format = STATE_FORMAT;
    state.files = BTreeMap::new();
    write_safetensors(
        &folder.join(MODEL_FILE),
        snapshot.model,
        &snapshot.notes.to_metadata(),
    )?;
    let moments = moments::tensors(snapshot.optimizer)?;
    write_safetensors(&folder.join(OPTIMIZER_FILE), moments, &BTreeMap::new())?;
    for name in [MODEL_FILE, OPTIMIZER_FILE] {
        let path = folder.join(name);
        let record = FileRecord::of(&path).map_err(StateError::io("read back", &path))?;
        state.files.insert(name.to_owned(), record);
    }
    write_state(&folder.join(STATE_FILE), &state)?;
    sync(folder)
}

fn write_state(path: &Path, state: &TrainingState) -> Result<(), StateError> {
    let bad = |error: serde_json::Error| StateError::BadState {
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

/// Moves the finished folder to its name. One that has the name steps aside first and is deleted last; a kill in
/// between leaves it where [`recover`](super::store::recover) finds it.
fn put(root: &Path, label: Label, beside: &Path, target: &Path) -> Result<(), StateError> {
    let aside = root.join(format!(".{label}{REPLACED}"));
    let replaces = target.exists();
    if replaces {
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(StateError::io("remove", &aside))?;
        }
        fs::rename(target, &aside).map_err(StateError::io("set aside", target))?;
    }
    if let Err(error) = fs::rename(beside, target) {
        if replaces {
            // Back as it was; where that fails too, recovery at the next start does it.
            let _ = fs::rename(&aside, target);
        }
        return Err(StateError::io("rename to", target)(error));
    }
    sync(root)?;
    if replaces {
        fs::remove_dir_all(&aside).map_err(StateError::io("remove", &aside))?;
    }
    Ok(())
}

/// Makes a folder's entries last.
pub(super) fn sync(folder: &Path) -> Result<(), StateError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(StateError::io("sync", folder))?;
    }
    Ok(())
}
