use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::TrainingLogError;
use super::frame::frame;
use super::proto::{What, event};

/// The version that readers expect in the first event of a file.
const VERSION: &str = "brain.Event:2";

/// TensorBoard events written to anything, each in a single call.
#[derive(Debug)]
pub struct EventStream<W: Write> {
    out: W,
}

impl<W: Write> EventStream<W> {
    /// Begins a stream with its version. Times are in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(out: W, wall_time: f64) -> io::Result<Self> {
        let mut stream = Self { out };
        stream.write(wall_time, 0, What::FileVersion(VERSION))?;
        Ok(stream)
    }

    /// Says that a run goes on here and that what earlier files say of `step` and later steps is void.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn restart(&mut self, wall_time: f64, step: u64) -> io::Result<()> {
        self.write(wall_time, step, What::Start)
    }

    /// Writes the figures of a step, each with its tag, such as `loss/total`. The format holds them in f32.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn scalars(
        &mut self,
        wall_time: f64,
        step: u64,
        scalars: &[(&str, f32)],
    ) -> io::Result<()> {
        self.write(wall_time, step, What::Scalars(scalars))
    }

    fn write(&mut self, wall_time: f64, step: u64, what: What<'_>) -> io::Result<()> {
        self.out.write_all(&frame(&event(wall_time, step, what)))
    }
}

/// A TensorBoard event file in a folder of them. Every start of a run has a file of its own, so that no file is written
/// to after a kill; TensorBoard joins the files of a folder in the order of their names.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    stream: EventStream<File>,
}

impl EventFile {
    /// Begins a file in `folder`, which is made where it is not there. `resumed` is the step of the checkpoint that a
    /// run goes on from: what earlier files say of later steps is void then.
    ///
    /// # Errors
    /// Whatever keeps the folder or the file from being made or written.
    pub fn create(folder: &Path, resumed: Option<u64>) -> Result<Self, TrainingLogError> {
        std::fs::create_dir_all(folder).map_err(|source| TrainingLogError::Open {
            path: folder.to_owned(),
            source,
        })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (path, file) = new_file(folder, now)?;
        let wall_time = now.as_secs_f64();
        let begin = || -> io::Result<EventStream<File>> {
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

    /// Writes the figures of a step; they are with the operating system when this returns.
    ///
    /// # Errors
    /// [`TrainingLogError::Write`], on a full disk for instance.
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

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a file that was not there, its name later than those made before.
fn new_file(folder: &Path, now: Duration) -> Result<(PathBuf, File), TrainingLogError> {
    let mut nanoseconds = now.subsec_nanos();
    loop {
        let name = format!(
            "events.out.tfevents.{:010}.{nanoseconds:09}.clipn",
            now.as_secs()
        );
        let path = folder.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(source) if source.kind() == ErrorKind::AlreadyExists && nanoseconds < u32::MAX => {
                nanoseconds += 1;
            }
            Err(source) => return Err(TrainingLogError::Open { path, source }),
        }
    }
}
