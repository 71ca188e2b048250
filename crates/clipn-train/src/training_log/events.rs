use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clipn_base::files::{OutputFile, create_directories};

use super::TrainingLogError;
use super::frame::frame;
use super::proto::{EventContent, event};

/// File version that readers expect in the first event of a file.
const VERSION: &str = "brain.Event:2";

/// A stream of TensorBoard events to any writer, each event in a single call.
#[derive(Debug)]
pub struct EventStream<W: Write> {
    out: W,
}

impl<W: Write> EventStream<W> {
    /// Starts a stream with the file-version event. Times are in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn new(out: W, wall_time: f64) -> io::Result<Self> {
        let mut stream = Self { out };
        stream.write(wall_time, 0, EventContent::FileVersion(VERSION))?;
        Ok(stream)
    }

    /// Writes a restart event: events of `step` and later steps in earlier files become void.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn restart(&mut self, wall_time: f64, step: u64) -> io::Result<()> {
        self.write(wall_time, step, EventContent::Start)
    }

    /// Writes the values of a step, each with its tag, such as `loss/total`. The format stores them
    /// as f32.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn scalars(
        &mut self,
        wall_time: f64,
        step: u64,
        scalars: &[(&str, f32)],
    ) -> io::Result<()> {
        self.write(wall_time, step, EventContent::Scalars(scalars))
    }

    fn write(&mut self, wall_time: f64, step: u64, content: EventContent<'_>) -> io::Result<()> {
        self.out.write_all(&frame(&event(wall_time, step, content)))
    }
}

/// A TensorBoard event file in a directory of them.
///
/// Every start of a run creates its own file, so that no file is written to after a kill.
/// TensorBoard reads the files of a directory in the order of their names.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    stream: EventStream<OutputFile>,
}

impl EventFile {
    /// Creates a file in the directory `dir`, which is created if missing. `resumed` is the step
    /// of the checkpoint that a run resumes from: events of later steps in earlier files become
    /// void.
    ///
    /// # Errors
    /// [`TrainingLogError::Open`] if the directory or file cannot be created,
    /// [`TrainingLogError::Write`] if it cannot be written.
    pub fn create(dir: impl AsRef<Path>, resumed: Option<u64>) -> Result<Self, TrainingLogError> {
        let dir = dir.as_ref();
        create_directories(dir).map_err(|source| TrainingLogError::Open {
            path: dir.to_owned(),
            source,
        })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (path, file) = new_file(dir, now)?;
        let wall_time = now.as_secs_f64();
        let begin = || -> io::Result<EventStream<OutputFile>> {
            let mut stream = EventStream::new(file, wall_time)?;
            if let Some(step) = resumed {
                stream.restart(wall_time, step.saturating_add(1))?;
            }
            Ok(stream)
        };
        match begin() {
            Ok(stream) => Ok(Self { path, stream }),
            Err(source) => Err(TrainingLogError::Write { path, source }),
        }
    }

    /// Writes the values of a step. On return, they have been handed to the operating system.
    ///
    /// # Errors
    /// [`TrainingLogError::Write`] if writing fails, such as on a full disk.
    pub fn scalars(
        &mut self,
        wall_time: f64,
        step: u64,
        scalars: &[(&str, f32)],
    ) -> Result<(), TrainingLogError> {
        let written = self.stream.scalars(wall_time, step, scalars);
        written.map_err(|source| TrainingLogError::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a new file whose name sorts after those created before.
fn new_file(dir: &Path, now: Duration) -> Result<(PathBuf, OutputFile), TrainingLogError> {
    let mut nanoseconds = now.subsec_nanos();
    loop {
        let name = format!(
            "events.out.tfevents.{:010}.{nanoseconds:09}.clipn",
            now.as_secs()
        );
        let path = dir.join(name);
        match OutputFile::open(&path, OpenOptions::new().append(true).create_new(true)) {
            Ok(file) => return Ok((path, file)),
            Err(source) if source.kind() == ErrorKind::AlreadyExists && nanoseconds < u32::MAX => {
                nanoseconds += 1;
            }
            Err(source) => return Err(TrainingLogError::Open { path, source }),
        }
    }
}
