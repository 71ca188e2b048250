use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use clipn_base::files::OutputFile;
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};

use super::TrainingLogError;

/// One line of the log: progress, losses and speed after a step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogRecord {
    /// Optimizer steps completed.
    pub step: u64,
    /// Epoch that the step belongs to, from 0.
    pub epoch: u64,
    /// Samples seen since the start of the run, over all processes.
    pub samples: u64,
    /// Losses by name, such as `total`, `yes`, `no` and `tso`. A loss that is not finite is `null`
    /// in the file and NaN when read back.
    #[serde(deserialize_with = "nulls_as_nan")]
    pub losses: IndexMap<String, f64>,
    /// Learning rate of the step.
    pub lr: f64,
    /// Samples of the step divided by [`seconds`](Self::seconds).
    pub samples_per_second: f64,
    /// Duration of the step in seconds: the time since the previous line, or since the start of the
    /// epoch or of a resumed run for the first one. The time to write checkpoints is not included.
    pub seconds: f64,
    /// Time of writing, in seconds since 1970 (UTC).
    pub time: f64,
}

fn nulls_as_nan<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<IndexMap<String, f64>, D::Error> {
    let losses = IndexMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(losses
        .into_iter()
        .map(|(name, loss)| (name, loss.unwrap_or(f64::NAN)))
        .collect())
}

/// `log.jsonl`, with one JSON object per line. Each line is written in a single call and never
/// changed.
#[derive(Debug)]
pub struct JsonLog {
    file: OutputFile,
}

impl JsonLog {
    /// Creates a new log.
    ///
    /// # Errors
    /// [`TrainingLogError::AlreadyExists`] if the file exists, [`TrainingLogError::Open`] if it cannot be
    /// created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, TrainingLogError> {
        let path = path.as_ref();
        match OutputFile::open(path, OpenOptions::new().append(true).create_new(true)) {
            Ok(file) => Ok(Self { file }),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(TrainingLogError::AlreadyExists {
                    path: path.to_owned(),
                })
            }
            Err(source) => Err(TrainingLogError::Open {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Opens the log of a run that resumes from the checkpoint of `step`, or creates it if missing.
    /// Truncates lines of later steps, because those steps are repeated, and a last line that a
    /// kill left incomplete.
    ///
    /// # Errors
    /// [`TrainingLogError::InvalidRecord`] if a line up to `step` is not a record,
    /// [`TrainingLogError::Read`] or [`TrainingLogError::Open`] if the file cannot be read or
    /// truncated.
    pub fn resume(path: impl AsRef<Path>, step: u64) -> Result<Self, TrainingLogError> {
        let path = path.as_ref();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Self::create(path),
            Err(source) => {
                return Err(TrainingLogError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let kept = kept_length(path, &bytes, step)?;
        let open = || -> io::Result<OutputFile> {
            let file = OutputFile::open(path, OpenOptions::new().append(true))?;
            file.set_len(kept)?;
            Ok(file)
        };
        let file = open().map_err(|source| TrainingLogError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { file })
    }

    /// Appends a line. On return, it has been handed to the operating system.
    ///
    /// # Errors
    /// [`TrainingLogError::Write`] if writing fails, such as on a full disk.
    pub fn write(&mut self, record: &LogRecord) -> Result<(), TrainingLogError> {
        let line = serde_json::to_vec(record).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(|source| TrainingLogError::Write {
            path: self.file.path().to_owned(),
            source,
        })
    }
}

/// Reads the records of a log. Ignores a last line that a kill left incomplete.
///
/// # Errors
/// [`TrainingLogError::Read`] if the file cannot be read, [`TrainingLogError::InvalidRecord`] if a line is
/// not a record.
pub fn read_log(path: impl AsRef<Path>) -> Result<Vec<LogRecord>, TrainingLogError> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|source| TrainingLogError::Read {
        path: path.to_owned(),
        source,
    })?;
    let lines = Lines {
        bytes: &bytes,
        at: 0,
    }
    .enumerate();
    lines
        .map(|(index, (_, line))| parse(path, index, line))
        .collect()
}

/// Returns the number of bytes before the first line of a later step.
fn kept_length(path: &Path, bytes: &[u8], step: u64) -> Result<u64, TrainingLogError> {
    let mut kept = 0;
    let mut broken = None;
    for (index, (end, line)) in (Lines { bytes, at: 0 }).enumerate() {
        match parse::<StepOnly>(path, index, line) {
            Ok(record) if record.step > step => break,
            // A crash of the machine leaves broken lines at the end. One in the middle has another
            // cause.
            Ok(_) => match broken.take() {
                Some(error) => return Err(error),
                None => kept = end,
            },
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    match broken {
        // Without a single record, this is some other file.
        Some(error) if kept == 0 => Err(error),
        _ => Ok(kept as u64),
    }
}

#[derive(Deserialize)]
struct StepOnly {
    step: u64,
}

fn parse<T: for<'de> Deserialize<'de>>(
    path: &Path,
    index: usize,
    line: &[u8],
) -> Result<T, TrainingLogError> {
    serde_json::from_slice(line).map_err(|error| TrainingLogError::InvalidRecord {
        path: path.to_owned(),
        line: index + 1,
        problem: error.to_string(),
    })
}

/// Iterator over the lines that end in a line feed, each with the offset after it.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n')?;
        self.at += length + 1;
        Some((self.at, &rest[..length]))
    }
}
