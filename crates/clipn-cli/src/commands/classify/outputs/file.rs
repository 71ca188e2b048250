use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use super::done::{self, Done};
use super::{Row, Target, columns, parquet, record};
use crate::commands::classify::args::Form;
use crate::commands::classify::settings::Settings;
use crate::common::error::CliError;

/// The longest that a finished row waits in memory, so that a kill costs at most what came since.
const DELAY: Duration = Duration::from_secs(1);

/// A file of rows that a killed run can go on with: what is in it is whole but for the last row.
pub struct FileOutput {
    target: Target,
    top: usize,
    rows: Rows,
    flushed: Instant,
}

enum Rows {
    Jsonl(BufWriter<File>),
    Csv(Box<csv::Writer<File>>),
}

impl FileOutput {
    /// Begins the file, in place of whatever is there.
    pub fn begin(target: Target, settings: &Settings, top: usize) -> Result<Self, CliError> {
        let file = open(&target)?;
        let failed = |source| CliError::WriteRows {
            path: target.rows.clone(),
            source,
        };
        // First the rows go, then the settings that they had: between the two there is nothing that could be gone on
        // with under the wrong settings.
        file.set_len(0).map_err(failed)?;
        if target.form == Form::Parquet && target.path.exists() {
            std::fs::remove_file(&target.path).map_err(failed)?;
        }
        settings.write(&target.settings)?;
        Self::append(target, file, top, 0)
    }

    /// Opens a file that is there, hands its rows to `seen` and cuts off a torn one.
    pub fn resume(
        target: Target,
        settings: &Settings,
        top: usize,
        mut seen: impl FnMut(Done) -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        settings.check(&target)?;
        let mut file = open(&target)?;
        let stopped = done::read(target.form, &mut file, &columns(top), |done| {
            seen(done).map_err(|error| Stop::Told(Box::new(error)))
        });
        let whole = stopped.map_err(|stop| match stop {
            Stop::Unreadable(source) => CliError::ReadList {
                path: target.rows.clone(),
                source,
            },
            Stop::Told(error) => *error,
        })?;
        file.set_len(whole).map_err(|source| CliError::WriteRows {
            path: target.rows.clone(),
            source,
        })?;
        Self::append(target, file, top, whole)
    }

    fn append(target: Target, mut file: File, top: usize, end: u64) -> Result<Self, CliError> {
        let failed = |source| CliError::WriteRows {
            path: target.rows.clone(),
            source,
        };
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
        let rows = if target.form == Form::Csv {
            let mut csv = csv::WriterBuilder::new()
                .has_headers(false)
                .from_writer(file);
            if end == 0 {
                csv.write_record(columns(top))
                    .map_err(|e| failed(e.into()))?;
            }
            Rows::Csv(Box::new(csv))
        } else {
            Rows::Jsonl(BufWriter::new(file))
        };
        Ok(Self {
            target,
            top,
            rows,
            flushed: Instant::now(),
        })
    }

    pub fn row(&mut self, row: &Row) -> Result<(), CliError> {
        let written = match &mut self.rows {
            Rows::Csv(csv) => csv
                .write_record(record(row, self.top))
                .map_err(io::Error::from),
            Rows::Jsonl(out) => serde_json::to_writer(&mut *out, row)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
        };
        written.map_err(|source| self.failed(source))?;
        if self.flushed.elapsed() > DELAY {
            self.flush()?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), CliError> {
        self.flushed = Instant::now();
        let flushed = match &mut self.rows {
            Rows::Csv(csv) => csv.flush(),
            Rows::Jsonl(out) => out.flush(),
        };
        flushed.map_err(|source| self.failed(source))
    }

    /// Ends a file to which nothing is missing.
    pub fn finish(mut self) -> Result<(), CliError> {
        self.flush()?;
        if self.target.form == Form::Parquet {
            parquet::convert(&self.target, self.top)?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> CliError {
        CliError::WriteRows {
            path: self.target.rows.clone(),
            source,
        }
    }
}

/// What ends the reading of rows.
enum Stop {
    Unreadable(io::Error),
    Told(Box<CliError>),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Opens the file of rows, of which one process at a time may be the writer.
fn open(target: &Target) -> Result<File, CliError> {
    let failed = |source| CliError::WriteRows {
        path: target.rows.clone(),
        source,
    };
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&target.rows);
    let file = options.map_err(failed)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(CliError::Usage(format!(
            "another process writes {} now: wait for it, or give another --output",
            target.rows.display()
        ))),
        // Some file systems cannot lock; that is no reason not to write.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
