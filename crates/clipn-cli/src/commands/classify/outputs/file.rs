use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use super::written::{self, WrittenRow};
use super::{Row, Target, columns, parquet, record};
use crate::commands::classify::args::OutputFormat;
use crate::commands::classify::settings::RunSettings;
use crate::common::error::CliError;

/// Maximum time that a finished row stays in memory, which bounds what a kill loses.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A file of rows that a killed run can resume: every row in it is complete except the last.
pub(crate) struct FileOutput {
    target: Target,
    top: usize,
    rows: RowWriter,
    last_flush: Instant,
}

enum RowWriter {
    Jsonl(BufWriter<File>),
    Csv(Box<csv::Writer<File>>),
}

impl FileOutput {
    /// Creates the file, replacing an existing one.
    pub(crate) fn create(
        target: Target,
        settings: &RunSettings,
        top: usize,
    ) -> Result<Self, CliError> {
        let file = open(&target)?;
        let failed = |source| CliError::WriteFile {
            path: target.rows.clone(),
            source,
        };
        // Rows first, then their settings: a crash in between leaves nothing that could be resumed
        // with the wrong settings.
        file.set_len(0).map_err(failed)?;
        if target.format == OutputFormat::Parquet && target.path.exists() {
            std::fs::remove_file(&target.path).map_err(failed)?;
        }
        settings.write(&target.settings)?;
        Self::append(target, file, top, 0)
    }

    /// Opens an existing file, passes its rows to `on_row` and cuts off an incomplete last row.
    pub(crate) fn resume(
        target: Target,
        settings: &RunSettings,
        top: usize,
        mut on_row: impl FnMut(WrittenRow) -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        settings.check(&target.path, &target.settings)?;
        let mut file = open(&target)?;
        let complete = written::read(&target, &mut file, &columns(top), &mut on_row)?;
        file.set_len(complete)
            .map_err(|source| CliError::WriteFile {
                path: target.rows.clone(),
                source,
            })?;
        Self::append(target, file, top, complete)
    }

    fn append(target: Target, mut file: File, top: usize, end: u64) -> Result<Self, CliError> {
        let failed = |source| CliError::WriteFile {
            path: target.rows.clone(),
            source,
        };
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
        let rows = if target.format == OutputFormat::Csv {
            let mut csv = csv::WriterBuilder::new()
                .has_headers(false)
                .from_writer(file);
            if end == 0 {
                csv.write_record(columns(top))
                    .map_err(|e| failed(e.into()))?;
            }
            RowWriter::Csv(Box::new(csv))
        } else {
            RowWriter::Jsonl(BufWriter::new(file))
        };
        Ok(Self {
            target,
            top,
            rows,
            last_flush: Instant::now(),
        })
    }

    pub(crate) fn row(&mut self, row: &Row) -> Result<(), CliError> {
        let written = match &mut self.rows {
            RowWriter::Csv(csv) => csv
                .write_record(record(row, self.top))
                .map_err(io::Error::from),
            RowWriter::Jsonl(out) => serde_json::to_writer(&mut *out, row)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
        };
        written.map_err(|source| self.failed(source))?;
        if self.last_flush.elapsed() > FLUSH_INTERVAL {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.last_flush = Instant::now();
        let flushed = match &mut self.rows {
            RowWriter::Csv(csv) => csv.flush(),
            RowWriter::Jsonl(out) => out.flush(),
        };
        flushed.map_err(|source| self.failed(source))
    }

    /// Finishes a complete file.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.flush()?;
        if self.target.format == OutputFormat::Parquet {
            parquet::convert(&self.target, self.top)?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> CliError {
        CliError::WriteFile {
            path: self.target.rows.clone(),
            source,
        }
    }
}

/// Opens the file of rows and locks it: one process at a time may write it.
fn open(target: &Target) -> Result<File, CliError> {
    let failed = |source| CliError::WriteFile {
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
        Err(TryLockError::WouldBlock) => Err(CliError::usage_with_hint(
            format!("another process is writing {}", target.rows.display()),
            "wait for it, or give another --output",
        )),
        // Some file systems cannot lock; write without a lock there.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
