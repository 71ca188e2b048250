use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use clipn::files::{self, LockError, OutputFile, StateLock};

use super::written::{self, WrittenRow};
use super::{Columns, Row, RowSink, Target, columns, parquet, record};
use crate::commands::classify::args::OutputFormat;
use crate::commands::classify::settings::RunSettings;
use crate::common::error::CliError;
use crate::common::locks::reported;

/// Maximum time that a finished row stays in memory, which bounds what a kill loses.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A file of rows that a killed run can resume: every row in it is complete except the last.
pub(crate) struct FileOutput {
    target: Target,
    columns: Columns,
    rows: RowWriter,
    /// Length of the file before this run's rows.
    start: u64,
    last_flush: Instant,
    last_sync: Instant,
    /// Interval at which rows are synced to disk.
    sync: Duration,
    _lock: StateLock,
}

enum RowWriter {
    Jsonl(BufWriter<OutputFile>),
    Csv(Box<csv::Writer<OutputFile>>),
}

impl RowWriter {
    fn file(&self) -> &OutputFile {
        match self {
            Self::Jsonl(rows) => rows.get_ref(),
            Self::Csv(rows) => rows.get_ref(),
        }
    }
}

/// The locked file that rows are appended to.
pub(crate) struct LockedRows {
    file: OutputFile,
    lock: StateLock,
}

impl FileOutput {
    /// Creates the file; replaces an existing one if `replaces`. Another process may have written it since it was
    /// looked for.
    pub(crate) fn create(
        target: Target,
        settings: &RunSettings,
        layout: RowLayout,
        replaces: bool,
    ) -> Result<Self, CliError> {
        let rows = open(&target)?;
        let length = rows.file.file().metadata().map(|metadata| metadata.len());
        let is_written = length.is_ok_and(|length| length > 0) || target.is_converted();
        if is_written && !replaces {
            target.refuse_existing()?;
        }
        Self::begin(target, rows, settings, layout)
    }

    /// Cuts the file and writes its settings.
    fn begin(
        target: Target,
        rows: LockedRows,
        settings: &RunSettings,
        layout: RowLayout,
    ) -> Result<Self, CliError> {
        let failed = |source| CliError::WriteFile {
            path: target.rows.clone(),
            source,
        };
        // Rows first, then their settings: a crash in between leaves nothing that could be resumed
        // with the wrong settings.
        rows.file.set_len(0).map_err(failed)?;
        if target.format == OutputFormat::Parquet && target.path.exists() {
            files::remove_file(&target.path).map_err(failed)?;
        }
        settings.write(&target.settings)?;
        Self::append(target, rows, layout, 0)
    }

    /// Opens an existing file, passes its rows to `on_row` and cuts off an incomplete last row. A file
    /// without any byte is one whose run was stopped before its first row: it is begun.
    pub(crate) fn resume(
        target: Target,
        settings: &RunSettings,
        layout: RowLayout,
        mut on_row: impl FnMut(WrittenRow) -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        let mut rows = open(&target)?;
        let length = rows.file.file().metadata().map(|metadata| metadata.len());
        let failed = |source| CliError::WriteFile {
            path: target.rows.clone(),
            source,
        };
        if length.map_err(failed)? == 0 {
            return Self::begin(target, rows, settings, layout);
        }
        settings.check(&target.path, &target.settings)?;
        let complete = written::read(
            &target,
            &mut rows.file,
            &columns(layout.columns),
            &mut on_row,
        )?;
        rows.file.set_len(complete).map_err(failed)?;
        Self::append(target, rows, layout, complete)
    }

    fn append(
        target: Target,
        rows: LockedRows,
        layout: RowLayout,
        end: u64,
    ) -> Result<Self, CliError> {
        let failed = |source| CliError::WriteFile {
            path: target.rows.clone(),
            source,
        };
        let LockedRows { file, lock } = rows;
        let rows = if target.format == OutputFormat::Csv {
            let mut csv = csv::WriterBuilder::new()
                .has_headers(false)
                .from_writer(file);
            if end == 0 {
                csv.write_record(columns(layout.columns))
                    .map_err(|e| failed(e.into()))?;
            }
            RowWriter::Csv(Box::new(csv))
        } else {
            RowWriter::Jsonl(BufWriter::new(file))
        };
        let now = Instant::now();
        Ok(Self {
            target,
            columns: layout.columns,
            rows,
            start: end,
            last_flush: now,
            last_sync: now,
            sync: layout.sync,
            _lock: lock,
        })
    }

    /// Passes rows to the system, and syncs them if it is time. Fails if the output is no longer the
    /// file that was written.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.last_flush = Instant::now();
        let flushed = match &mut self.rows {
            RowWriter::Csv(csv) => csv.flush(),
            RowWriter::Jsonl(out) => out.flush(),
        };
        flushed.map_err(|source| self.failed(source))?;
        self.check_in_place()?;
        if self.last_sync.elapsed() >= self.sync {
            self.sync_rows()?;
        }
        Ok(())
    }

    /// Syncs the rows, so that they survive a crash of the machine.
    fn sync_rows(&mut self) -> Result<(), CliError> {
        let synced = self.rows.file().sync_all();
        synced.map_err(|source| self.failed(source))?;
        self.last_sync = Instant::now();
        Ok(())
    }

    /// Checks that no other program has removed, replaced, cut or extended the file.
    fn check_in_place(&self) -> Result<(), CliError> {
        let file = self.rows.file();
        let changed = |change| CliError::OutputChanged {
            path: self.target.rows.clone(),
            change,
        };
        if !file.is_in_place() {
            return Err(changed("removed or replaced"));
        }
        let length = file.file().metadata().map_err(|error| self.failed(error))?;
        if length.len() != self.start + file.written() {
            return Err(changed("changed"));
        }
        Ok(())
    }

    /// Flushes and syncs an incomplete file.
    pub(crate) fn close(mut self) -> Result<(), CliError> {
        self.flush()?;
        self.sync_rows()
    }

    /// Finishes a complete file.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.flush()?;
        self.sync_rows()?;
        if self.target.format == OutputFormat::Parquet {
            parquet::convert(&self.target, self.columns)?;
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

impl RowSink for FileOutput {
    fn row(&mut self, row: &Row) -> Result<(), CliError> {
        let written = match &mut self.rows {
            RowWriter::Csv(csv) => csv
                .write_record(record(row, self.columns))
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

    fn sync(&mut self) -> Result<(), CliError> {
        self.flush()?;
        self.sync_rows()
    }
}

/// What rows look like, and how safe they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowLayout {
    pub columns: Columns,
    /// Interval at which rows are synced to disk.
    pub sync: Duration,
}

/// Opens the file of rows and locks it: one process at a time may write it.
fn open(target: &Target) -> Result<LockedRows, CliError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    let file = OutputFile::open(&target.rows, &options).map_err(|source| CliError::WriteFile {
        path: target.rows.clone(),
        source,
    })?;
    let lock = match StateLock::of_open_file(&target.rows, file.file()) {
        Err(LockError::InUse { path, holder }) => {
            return Err(CliError::usage_with_hint(
                format!("{holder} is writing {}", path.display()),
                "wait for it, or give another --output",
            ));
        }
        lock => reported(lock?),
    };
    Ok(LockedRows { file, lock })
}
