//! `state.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{STATE_FILE, StateError};
use clipn_base::random::Xoshiro256;
use crate::{AdamWSettings, ObjectiveSettings, Schedule};

/// The version of `state.json` that is written and read.
pub const STATE_FORMAT: u64 = 1;

/// Everything a run needs to go on as if it had not stopped, beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// [`STATE_FORMAT`].
    pub format: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Optimizer steps taken.
    pub step: u64,
    /// Samples seen over all epochs and ranks.
    pub samples_seen: u64,
    /// Where in the data the next sample is, in the data set's own form.
    pub position: serde_json::Value,
    /// The generator of what is drawn in sequence.
    pub rng: Xoshiro256,
    /// The learning-rate schedule.
    pub schedule: Schedule,
    /// The optimizer's settings.
    pub optimizer: AdamWSettings,
    /// The objective.
    pub objective: ObjectiveSettings,
    /// The model's config, in open_clip's form.
    pub model: serde_json::Value,
    /// The run's other settings.
    pub settings: serde_json::Value,
    /// Versions of what wrote it, by name.
    pub versions: BTreeMap<String, String>,
    /// The files beside it, filled in when it is saved.
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
}

/// What a file must be to be the one that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 (ISO-HDLC) of the content.
    pub crc32: u32,
}

impl FileRecord {
    /// The record of a file as it is.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut block = vec![0; 1 << 20];
        let (mut bytes, mut hasher) = (0, crc32fast::Hasher::new());
        loop {
            let read = match file.read(&mut block) {
                Ok(0) => {
                    return Ok(Self {
                        bytes,
                        crc32: hasher.finalize(),
                    });
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            bytes += read as u64;
            hasher.update(&block[..read]);
        }
    }
}

impl TrainingState {
    /// Reads the `state.json` of a checkpoint's folder.
    pub(super) fn read(folder: &Path) -> Result<Self, StateError> {
        /// The one thing that every version of the format has.
        #[derive(Deserialize)]
        struct AnyFormat {
            format: u64,
        }
        let path = folder.join(STATE_FILE);
        let json = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StateError::NotACheckpoint {
                path: folder.to_owned(),
            },
            _ => StateError::Io {
                action: "read",
                path: path.clone(),
                source,
            },
        })?;
        let bad = |error: serde_json::Error| StateError::BadState {
            path: path.clone(),
            what: error.to_string(),
        };
        let AnyFormat { format } = serde_json::from_slice(&json).map_err(bad)?;
        if format != STATE_FORMAT {
            return Err(StateError::Format {
                path,
                found: format,
                known: STATE_FORMAT,
            });
        }
        serde_json::from_slice(&json).map_err(bad)
    }
}
