//! `state.json`, the state of a run at a checkpoint.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use clipn_base::random::Xoshiro256;

use super::{STATE_FILE, StateError};
use crate::objective::ObjectiveSettings;
use crate::optimizer::AdamWSettings;
use crate::schedule::Schedule;

/// Format version of `state.json` that is written and read.
pub const STATE_FORMAT_VERSION: u64 = 1;

/// Everything that a run needs to resume exactly, except for weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Format version, [`STATE_FORMAT_VERSION`].
    pub format: u64,
    /// Number of completed epochs.
    pub epoch: u64,
    /// Number of optimizer steps taken.
    pub step: u64,
    /// Number of samples seen over all epochs and ranks.
    pub samples_seen: u64,
    /// Position of the next sample, in the data set's own format.
    pub position: serde_json::Value,
    /// Generator for sequential draws.
    pub rng: Xoshiro256,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// AdamW's settings.
    pub optimizer: AdamWSettings,
    /// Objective and its settings.
    pub objective: ObjectiveSettings,
    /// Model config, in open_clip's format.
    pub model: serde_json::Value,
    /// All settings of the run.
    pub settings: serde_json::Value,
    /// Versions of the programs that wrote the state, by name.
    pub versions: BTreeMap<String, String>,
    /// Records of the checkpoint's other files, filled in on saving.
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
}

/// Length and checksum of a file, for verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 (ISO-HDLC) of the content.
    pub crc32: u32,
}

impl FileRecord {
    /// Computes the record of an existing file.
    pub(super) fn from_file(path: &Path) -> io::Result<Self> {
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
    /// Reads the `state.json` of a checkpoint's directory.
    pub(super) fn read(dir: &Path) -> Result<Self, StateError> {
        /// The field that every version of the format has.
        #[derive(Deserialize)]
        struct AnyFormat {
            format: u64,
        }
        let path = dir.join(STATE_FILE);
        let json = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StateError::NotACheckpoint {
                path: dir.to_owned(),
            },
            _ => StateError::Io {
                action: "read",
                path: path.clone(),
                source,
            },
        })?;
        let bad = |error: serde_json::Error| StateError::InvalidState {
            path: path.clone(),
            what: error.to_string(),
        };
        let AnyFormat { format } = serde_json::from_slice(&json).map_err(bad)?;
        if format != STATE_FORMAT_VERSION {
            return Err(StateError::UnsupportedFormat {
                path,
                found: format,
                known: STATE_FORMAT_VERSION,
            });
        }
        serde_json::from_slice(&json).map_err(bad)
    }
}
