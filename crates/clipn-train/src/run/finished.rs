//! The mark of a finished run: exit codes of launchers do not show whether a run was cut short.

use std::path::{Path, PathBuf};

use clipn_base::files;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;

/// Contents of [`TrainRun::FINISHED_FILE`](crate::TrainRun::FINISHED_FILE), which a run writes after
/// its last step and removes before it trains on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FinishedMark {
    /// Number of steps of the whole run.
    pub(super) step: u64,
    /// Name of the last checkpoint.
    pub(super) checkpoint: String,
    /// Number of processes that ended it.
    pub(super) processes: usize,
}

/// File name in a run's directory.
pub(super) const FINISHED_FILE: &str = "finished.json";

impl FinishedMark {
    /// Reads the mark of a run; `None` if it has none.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, TrainingError> {
        let path = dir.join(FINISHED_FILE);
        match std::fs::read(&path) {
            Ok(json) => Ok(Some(
                serde_json::from_slice(&json).map_err(|error| failed(&path, error.into()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Writes the mark in one step: a mark that exists is complete.
    pub(super) fn write(&self, dir: &Path) -> Result<(), TrainingError> {
        let path = dir.join(FINISHED_FILE);
        let written = serde_json::to_vec_pretty(self)
            .map_err(Into::into)
            .and_then(|json| files::replace(&path, json));
        written.map_err(|error| failed(&path, error))
    }

    /// Removes the mark of a run that trains on.
    pub(super) fn remove(dir: &Path) -> Result<(), TrainingError> {
        let path = dir.join(FINISHED_FILE);
        match files::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }
}

fn failed(path: &Path, source: std::io::Error) -> TrainingError {
    TrainingError::FinishedMark {
        path: PathBuf::from(path),
        source,
    }
}
