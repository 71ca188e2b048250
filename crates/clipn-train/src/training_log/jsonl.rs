use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};

use super::TrainingLogError;

/// One line of the log: where training stands and how it goes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// The epoch that the step belongs to, from 0.
    pub epoch: u64,
    /// Samples seen since the start of the run, all processes together.
    pub samples: u64,
    /// The losses by name, such as `total`, `yes`, `no` and `tso`. One that is not finite is `null` in the file and
    /// NaN when read back.
    #[serde(deserialize_with = "nulls_as_nan")]
    pub losses: IndexMap<String, f64>,
    /// The learning rate of the step.
    pub lr: f64,
    /// Samples a second since the line before.
    pub samples_per_second: f64,
    /// Seconds of training since the start of the run.
    pub seconds: f64,
    /// When the line was written, in seconds since 1970 (UTC).
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

/// `log.jsonl`: one JSON object a line, each written whole in a single call and never changed again.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
}

impl JsonLog {
    /// Begins a new log.
    ///
    /// # Errors
    /// [`TrainingLogError::Exists`] when there is a file already, and whatever keeps it from being made.
    pub fn create(path: &Path) -> Result<Self, TrainingLogError> {
        match OpenOptions::new().append(true).create_new(true).open(path) {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
            }),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(TrainingLogError::Exists {
                    path: path.to_owned(),
                })
            }
            Err(source) => Err(TrainingLogError::Open {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Takes up the log of a run that goes on from the checkpoint of `step`: lines of later steps are cut off, since
    /// those steps come again, and so is a last line that a kill left unfinished. Begins a new log where there is none.
    ///
    /// # Errors
    /// [`TrainingLogError::Line`] for a line up to `step` that is no record, and whatever keeps the file from being
    /// read or shortened.
    pub fn resume(path: &Path, step: u64) -> Result<Self, TrainingLogError> {
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
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().append(true).open(path)?;
            file.set_len(kept)?;
            Ok(file)
        };
        let file = open().map_err(|source| TrainingLogError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends a line; it is with the operating system when this returns.
    ///
    /// # Errors
    /// [`TrainingLogError::Write`], on a full disk for instance.
    pub fn write(&mut self, record: &LogRecord) -> Result<(), TrainingLogError> {
        let line = serde_json::to_vec(record).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(|source| TrainingLogError::Write {
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads the records of a log; a last line that a kill left unfinished is left out.
///
/// # Errors
/// [`TrainingLogError::Read`], and [`TrainingLogError::Line`] for a line that is no record.
pub fn read_log(path: &Path) -> Result<Vec<LogRecord>, TrainingLogError> {
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

/// Bytes up to the first line of a later step.
fn kept_length(path: &Path, bytes: &[u8], step: u64) -> Result<u64, TrainingLogError> {
    let mut kept = 0;
    let mut broken = None;
    for (index, (end, line)) in (Lines { bytes, at: 0 }).enumerate() {
        match parse::<Step>(path, index, line) {
            Ok(record) if record.step > step => break,
            // Broken lines at the end are what a crash of the machine leaves; one in the middle is not ours.
            Ok(_) => match broken.take() {
                Some(error) => return Err(error),
                None => kept = end,
            },
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    match broken {
        // Not one record: this is some other file.
        Some(error) if kept == 0 => Err(error),
        _ => Ok(kept as u64),
    }
}

#[derive(Deserialize)]
struct Step {
    step: u64,
}

fn parse<T: for<'de> Deserialize<'de>>(
    path: &Path,
    index: usize,
    line: &[u8],
) -> Result<T, TrainingLogError> {
    serde_json::from_slice(line).map_err(|error| TrainingLogError::Line {
        path: path.to_owned(),
        line: index + 1,
        problem: error.to_string(),
    })
}

/// The lines that end in a line feed, each with the place after it.
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
