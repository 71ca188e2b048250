//! The directory of a run's checkpoints: listing, saving, pruning, recovery.

use std::fs;
use std::path::{Path, PathBuf};

use clipn_base::files;
use clipn_model::Real;

use super::save::save;
use super::{
    CheckpointContents, CheckpointLabel, PARTIAL_SUFFIX, REPLACED_SUFFIX, StateError, TrainingState,
};

/// The directory of one run's checkpoints. At most one process may write to it at a time, for which
/// [`TrainRun`](crate::TrainRun) locks its directory.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    root: PathBuf,
}

/// A complete checkpoint in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Directory of the checkpoint.
    pub path: PathBuf,
    /// Label of the checkpoint.
    pub label: CheckpointLabel,
    /// Number of optimizer steps taken when it was saved.
    pub step: u64,
}

/// Policy for keeping checkpoints. The newest is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Number of newest checkpoints to keep.
    pub keep_last: usize,
    /// Also keep checkpoints whose label's number is a multiple of this.
    pub keep_every: Option<u64>,
}

impl CheckpointStore {
    /// Opens the checkpoints in `root`, which is created if missing. Removes leftovers of a killed
    /// process and restores a checkpoint whose replacement was interrupted.
    ///
    /// # Errors
    /// [`StateError::Io`] if the directory cannot be created, read or cleaned.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StateError> {
        let root = root.as_ref();
        files::create_directories(root).map_err(StateError::io("create the directory", root))?;
        recover(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Saves a checkpoint and returns its directory. On return, the checkpoint is complete
    /// and on disk. After an error or a kill, earlier checkpoints are unchanged.
    ///
    /// # Errors
    /// [`StateError::Save`] if a file cannot be written, such as on a full disk, or safetensors
    /// cannot store a tensor.
    pub fn save<T: Real>(
        &self,
        label: CheckpointLabel,
        contents: CheckpointContents<'_, T>,
    ) -> Result<PathBuf, StateError> {
        save(&self.root, label, contents)
    }

    /// Returns the complete checkpoints by steps taken, oldest first. Skips directories
    /// without a readable state, or with files that are missing or of another length.
    ///
    /// # Errors
    /// [`StateError::Io`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<SavedCheckpoint>, StateError> {
        let mut found = Vec::new();
        for (name, path) in directories(&self.root)? {
            let Ok(label) = name.parse::<CheckpointLabel>() else {
                continue;
            };
            if let Some(step) = steps_if_complete(&path) {
                found.push(SavedCheckpoint { path, label, step });
            }
        }
        found.sort_by_key(|saved| {
            (
                saved.step,
                matches!(saved.label, CheckpointLabel::Epoch(_)),
                saved.label.number(),
            )
        });
        Ok(found)
    }

    /// Returns the directories with the name of a checkpoint that [`list`](Self::list) skips, and are of later steps than
    /// `newest`, the [latest](Self::latest) one that it has.
    ///
    /// # Errors
    /// [`StateError::Io`] if the directory cannot be read.
    pub fn damaged(&self, newest: Option<&SavedCheckpoint>) -> Result<Vec<PathBuf>, StateError> {
        let is_later = |label: CheckpointLabel, path: &Path| {
            let Some(newest) = newest else {
                return true;
            };
            match TrainingState::read(path) {
                Ok(state) => state.step > newest.step,
                // Without a state, only numbers of the same kind can be compared.
                Err(_) => match (label, newest.label) {
                    (CheckpointLabel::Epoch(own), CheckpointLabel::Epoch(newest)) => own > newest,
                    (CheckpointLabel::Step(own), _) => own > newest.step,
                    (CheckpointLabel::Epoch(_), CheckpointLabel::Step(_)) => false,
                },
            }
        };
        let mut found = Vec::new();
        for (name, path) in directories(&self.root)? {
            let label = name.parse::<CheckpointLabel>();
            if label.is_ok_and(|label| steps_if_complete(&path).is_none() && is_later(label, &path))
            {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Returns the complete checkpoint with the most steps; of several, the one at an
    /// epoch's end.
    ///
    /// # Errors
    /// [`StateError::Io`] if the directory cannot be read.
    pub fn latest(&self) -> Result<Option<SavedCheckpoint>, StateError> {
        Ok(self.list()?.pop())
    }

    /// Renames the checkpoints after `step`, and returns their new directories, which are no longer listed: those of a
    /// run that is trained again from an earlier one.
    ///
    /// # Errors
    /// [`StateError::Io`] if a directory cannot be read or renamed.
    pub fn set_aside_after(&self, step: u64) -> Result<Vec<PathBuf>, StateError> {
        let mut renamed = Vec::new();
        for later in self.list()?.into_iter().filter(|saved| saved.step > step) {
            let name = |number: u64| match number {
                1 => format!("earlier-{}", later.label),
                _ => format!("earlier-{}-{number}", later.label),
            };
            let free = (1..).map(|number| self.root.join(name(number)));
            let Some(target) = free.into_iter().find(|path| !path.exists()) else {
                continue;
            };
            files::rename(&later.path, &target)
                .map_err(StateError::io("rename the checkpoint to", &target))?;
            renamed.push(target);
        }
        if !renamed.is_empty() {
            files::sync_directory(&self.root).map_err(StateError::io("sync", &self.root))?;
        }
        Ok(renamed)
    }

    /// Removes the checkpoints that `policy` does not keep, and returns their directories.
    ///
    /// # Errors
    /// [`StateError::Io`] if a directory cannot be read or removed.
    pub fn prune(&self, policy: RetentionPolicy) -> Result<Vec<PathBuf>, StateError> {
        let mut saved = self.list()?;
        saved.truncate(saved.len().saturating_sub(policy.keep_last.max(1)));
        let is_kept = |label: CheckpointLabel| {
            policy
                .keep_every
                .is_some_and(|every| every > 0 && label.number().is_multiple_of(every))
        };
        let mut removed = Vec::new();
        for old in saved.into_iter().filter(|saved| !is_kept(saved.label)) {
            files::remove_directory(&old.path).map_err(StateError::io("remove", &old.path))?;
            removed.push(old.path);
        }
        if !removed.is_empty() {
            files::sync_directory(&self.root).map_err(StateError::io("sync", &self.root))?;
        }
        Ok(removed)
    }
}

/// Returns the steps of a checkpoint if all its files exist with the recorded lengths.
fn steps_if_complete(path: &Path) -> Option<u64> {
    let state = TrainingState::read(path).ok()?;
    let is_intact = |(name, bytes): (&String, u64)| {
        fs::metadata(path.join(name)).is_ok_and(|file| file.is_file() && file.len() == bytes)
    };
    let all_intact = state
        .files
        .iter()
        .map(|(name, record)| (name, record.bytes))
        .all(is_intact);
    all_intact.then_some(state.step)
}

/// Removes leftovers of a killed process, and restores a checkpoint whose replacement was
/// interrupted.
fn recover(root: &Path) -> Result<(), StateError> {
    for (name, path) in directories(root)? {
        let Some(hidden) = name.strip_prefix('.') else {
            continue;
        };
        if let Some(label) = labeled(hidden, REPLACED_SUFFIX) {
            let target = root.join(label);
            if !target.exists() {
                files::rename(&path, &target).map_err(StateError::io("restore", &target))?;
                continue;
            }
        } else if labeled(hidden, PARTIAL_SUFFIX).is_none() {
            continue;
        }
        fs::remove_dir_all(&path).map_err(StateError::io("remove", &path))?;
    }
    Ok(())
}

/// Returns the label of a name `LABEL.tmp` or `LABEL.ANYTHING.tmp`, with any suffix; nothing else may
/// be deleted.
fn labeled<'a>(hidden: &'a str, suffix: &str) -> Option<&'a str> {
    let label = hidden.strip_suffix(suffix)?.split('.').next()?;
    label.parse::<CheckpointLabel>().is_ok().then_some(label)
}

/// Returns the directories in `root` with their names; symbolic links are not followed.
fn directories(root: &Path) -> Result<Vec<(String, PathBuf)>, StateError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(StateError::io("read the directory", root))? {
        let entry = entry.map_err(StateError::io("read the directory", root))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(name) = entry.file_name().to_str().filter(|_| is_dir) {
            found.push((name.to_owned(), entry.path()));
        }
    }
    Ok(found)
}
