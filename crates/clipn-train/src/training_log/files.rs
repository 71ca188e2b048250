use std::path::Path;

use super::{EventFile, JsonLog, LogRecord, TrainingLogError};

/// The log files of a run: `log.jsonl`, and TensorBoard's in `tensorboard/`.
#[derive(Debug)]
pub struct TrainingLog {
    lines: JsonLog,
    events: EventFile,
}

impl TrainingLog {
    /// Name of the file with one JSON object per line, in the directory of the run.
    pub const LINES_FILE: &'static str = "log.jsonl";

    /// Creates the logs of a run in the directory `dir`, which is created if missing.
    ///
    /// # Errors
    /// [`TrainingLogError::AlreadyExists`] if `dir` has the log of another run,
    /// [`TrainingLogError::Open`] if a file cannot be created.
    pub fn create(dir: impl AsRef<Path>) -> Result<Self, TrainingLogError> {
        let dir = dir.as_ref();
        create_directory(dir)?;
        Ok(Self {
            lines: JsonLog::create(dir.join(Self::LINES_FILE))?,
            events: EventFile::create(dir.join("tensorboard"), None)?,
        })
    }

    /// Opens the logs of a run that resumes from the checkpoint of `step`; removes entries of later
    /// steps.
    ///
    /// # Errors
    /// Same as [`JsonLog::resume`] and [`EventFile::create`].
    pub fn resume(dir: impl AsRef<Path>, step: u64) -> Result<Self, TrainingLogError> {
        let dir = dir.as_ref();
        create_directory(dir)?;
        Ok(Self {
            lines: JsonLog::resume(dir.join(Self::LINES_FILE), step)?,
            events: EventFile::create(dir.join("tensorboard"), Some(step))?,
        })
    }

    /// Writes a record to all files. In TensorBoard, a loss has the tag `loss/NAME`; other tags are
    /// `lr`, `epoch` and `samples_per_second`.
    ///
    /// # Errors
    /// [`TrainingLogError::Write`] if writing fails, such as on a full disk.
    pub fn write(&mut self, record: &LogRecord) -> Result<(), TrainingLogError> {
        self.lines.write(record)?;
        let tags: Vec<String> = record
            .losses
            .keys()
            .map(|name| format!("loss/{name}"))
            .collect();
        let losses = tags
            .iter()
            .map(String::as_str)
            .zip(record.losses.values().copied());
        let others = [
            ("lr", record.lr),
            ("epoch", record.epoch as f64),
            ("samples_per_second", record.samples_per_second),
        ];
        let scalars: Vec<(&str, f32)> = losses
            .chain(others)
            .map(|(tag, value)| (tag, value as f32))
            .collect();
        self.events.scalars(record.time, record.step, &scalars)
    }
}

fn create_directory(dir: &Path) -> Result<(), TrainingLogError> {
    clipn_base::files::create_directories(dir).map_err(|source| TrainingLogError::Open {
        path: dir.to_owned(),
        source,
    })
}
