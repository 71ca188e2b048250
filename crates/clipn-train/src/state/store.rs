//! The folder of a run's checkpoints: what is in it, which is the latest, which to keep.

use std::fs;
use std::path::{Path, PathBuf};

use super::save::{save, sync};
use super::{Label, Snapshot, StateError, TrainingState};
use clipn_model::Real;

/// How the name of a folder ends that is being written or deleted.
pub(super) const PARTIAL: &str = ".tmp";
/// How the name of a whole checkpoint ends that stepped aside for one of the same label.
pub(super) const REPLACED: &str = ".replaced";

/// The folder that one run keeps its checkpoints in. One program writes to it at a time.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    root: PathBuf,
}

/// A complete checkpoint found in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Its label.
    pub label: Label,
    /// Optimizer steps taken when it was saved.
    pub step: u64,
}

/// Which checkpoints to keep. The newest is kept whatever the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The last so many.
    pub last: usize,
    /// And those whose number in the label is a multiple of this.
    pub every: Option<u64>,
}

impl CheckpointStore {
    /// The checkpoints in `root`, which is made where it is not there. Leftovers of a killed program are removed, and
    /// a checkpoint that was being replaced is put back.
    ///
    /// # Errors
    /// The folder cannot be made, read or cleaned.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(root).map_err(StateError::io("make the folder", root))?;
        recover(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Saves a checkpoint and returns its folder. When this returns, the checkpoint is on disk and whole; on an error
    /// and on a kill, those before it are as they were.
    ///
    /// # Errors
    /// A full disk and other failures of the file system; tensors that safetensors cannot hold.
    pub fn save<T: Real>(
        &self,
        label: Label,
        snapshot: Snapshot<'_, T>,
    ) -> Result<PathBuf, StateError> {
        save(&self.root, label, snapshot)
    }

    /// The complete checkpoints, oldest first by steps taken. Folders without a readable state or with files missing or
    /// of another length are passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<SavedCheckpoint>, StateError> {
        let mut found = Vec::new();
        for (name, path) in folders(&self.root)? {
            let Ok(label) = name.parse::<Label>() else {
                continue;
            };
            if let Some(step) = complete(&path) {
                found.push(SavedCheckpoint { path, label, step });
            }
        }
        found.sort_by_key(|saved| {
            (
                saved.step,
                matches!(saved.label, Label::Epoch(_)),
                saved.label.number(),
            )
        });
        Ok(found)
    }

    /// The complete checkpoint with the most steps; of equals the one at an epoch's end.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn latest(&self) -> Result<Option<SavedCheckpoint>, StateError> {
        Ok(self.list()?.pop())
    }

    /// Removes the checkpoints that the rule does not keep, and returns their folders.
    ///
    /// # Errors
    /// A folder cannot be read or removed.
    pub fn prune(&self, retention: Retention) -> Result<Vec<PathBuf>, StateError> {
        let mut saved = self.list()?;
        saved.truncate(saved.len().saturating_sub(retention.last.max(1)));
        let is_kept = |label: Label| {
            retention
                .every
                .is_some_and(|every| every > 0 && label.number().is_multiple_of(every))
        };
        let mut removed = Vec::new();
        for old in saved.into_iter().filter(|saved| !is_kept(saved.label)) {
            // Renamed first, so that a kill leaves no half of a checkpoint under its name.
            let leaving = self.root.join(format!(".{}{PARTIAL}", old.label));
            fs::rename(&old.path, &leaving).map_err(StateError::io("remove", &old.path))?;
            fs::remove_dir_all(&leaving).map_err(StateError::io("remove", &leaving))?;
            removed.push(old.path);
        }
        if !removed.is_empty() {
            sync(&self.root)?;
        }
        Ok(removed)
    }
}

/// The steps of a checkpoint whose files are all there with their lengths.
fn complete(path: &Path) -> Option<u64> {
    let state = TrainingState::read(path).ok()?;
    let is_there = |(name, bytes): (&String, u64)| {
        fs::metadata(path.join(name)).is_ok_and(|file| file.is_file() && file.len() == bytes)
    };
    let files_are_there = state
        .files
        .iter()
        .map(|(name, record)| (name, record.bytes))
        .all(is_there);
    files_are_there.then_some(state.step)
}

/// Removes what a killed program left, and puts back a checkpoint whose replacement did not come.
fn recover(root: &Path) -> Result<(), StateError> {
    for (name, path) in folders(root)? {
        let Some(hidden) = name.strip_prefix('.') else {
            continue;
        };
        if let Some(label) = hidden
            .strip_suffix(REPLACED)
            .filter(|label| label.parse::<Label>().is_ok())
        {
            let target = root.join(label);
            if !target.exists() {
                fs::rename(&path, &target).map_err(StateError::io("put back", &target))?;
                continue;
            }
        } else if !is_partial(hidden) {
            continue;
        }
        fs::remove_dir_all(&path).map_err(StateError::io("remove", &path))?;
    }
    Ok(())
}

/// `LABEL.tmp` or `LABEL.PROCESS-COUNT.tmp`: nothing else is ours to delete.
fn is_partial(hidden: &str) -> bool {
    let Some(rest) = hidden.strip_suffix(PARTIAL) else {
        return false;
    };
    rest.split('.')
        .next()
        .is_some_and(|label| label.parse::<Label>().is_ok())
}

/// The folders in `root`, links not followed, with their names.
fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>, StateError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(StateError::io("read the folder", root))? {
        let entry = entry.map_err(StateError::io("read the folder", root))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(name) = entry.file_name().to_str().filter(|_| is_folder) {
            found.push((name.to_owned(), entry.path()));
        }
    }
    Ok(found)
}
