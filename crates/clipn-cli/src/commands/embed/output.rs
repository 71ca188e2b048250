//! Features and keys in files that a killed run can resume.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clipn::dataset::{FeatureWriter, KeyKind, LostSource};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::target::{OutputFormat, Target, extension};
use crate::commands::classify::{RunSettings, beside};
use crate::common::error::CliError;

/// Maximum time that a finished row stays in memory, which bounds what a kill loses.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// An item of a run: the key of a row of features, or of an item without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogRow {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows of features.
    pub rows: u64,
    /// Items without features.
    pub failed: u64,
    /// Sources that ended early, with an unknown number of items.
    pub lost_sources: u64,
}

impl Counts {
    pub(super) fn items(&self) -> u64 {
        self.rows + self.failed + self.lost_sources
    }

    fn count(&mut self, error: Option<&str>) {
        *match error {
            None => &mut self.rows,
            Some(error) if error.contains(LostSource::MARK) => &mut self.lost_sources,
            Some(_) => &mut self.failed,
        } += 1;
    }
}

/// The files of a run that is not complete.
pub(super) struct EmbedOutput {
    target: Target,
    kind: KeyKind,
    features: FeatureWriter,
    log: BufWriter<File>,
    pub(super) counts: Counts,
    last_flush: Instant,
}

/// Shape and number format of the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowShape {
    pub kind: KeyKind,
    pub half: bool,
    pub dim: usize,
}

impl EmbedOutput {
    /// Creates the files, replacing existing ones.
    pub(super) fn create(
        target: Target,
        settings: &RunSettings,
        shape: RowShape,
    ) -> Result<Self, CliError> {
        let log = open_log(&target)?;
        log.set_len(0).map_err(failed(&target.log))?;
        remove(&target.path)?;
        let features = FeatureWriter::create(
            &target.partial,
            target.format.appended(),
            shape.half,
            shape.dim,
        )?;
        settings.write(&target.settings)?;
        Ok(Self::new(target, shape.kind, features, log))
    }

    /// Opens the files of an interrupted run, and passes the items that are in them to `on_row`.
    pub(super) fn resume(
        target: Target,
        settings: &RunSettings,
        shape: RowShape,
        mut on_row: impl FnMut(u64, LogRow) -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        settings.check(&target.path, &target.settings)?;
        let mut log = open_log(&target)?;
        let mut features = FeatureWriter::resume(
            &target.partial,
            target.format.appended(),
            shape.half,
            shape.dim,
        )?;
        let mut counts = Counts::default();
        let mut end = 0;
        for_each_row(&target.log, &mut |row, line_end| {
            // The features of the last keys may be missing, if the system lost them.
            if row.error.is_none() && counts.rows == features.rows() {
                return Ok(false);
            }
            counts.count(row.error.as_deref());
            end = line_end;
            on_row(counts.items(), row)?;
            Ok(true)
        })?;
        features.truncate(counts.rows)?;
        log.set_len(end)
            .and_then(|()| log.seek(SeekFrom::Start(end)))
            .map_err(failed(&target.log))?;
        Ok(Self {
            counts,
            ..Self::new(target, shape.kind, features, log)
        })
    }

    fn new(target: Target, kind: KeyKind, features: FeatureWriter, log: File) -> Self {
        Self {
            target,
            kind,
            features,
            log: BufWriter::new(log),
            counts: Counts::default(),
            last_flush: Instant::now(),
        }
    }

    /// Appends an item: its features, or why it has none.
    pub(super) fn push(
        &mut self,
        key: String,
        row: Result<Vec<f32>, String>,
    ) -> Result<(), CliError> {
        let error = match row {
            Ok(row) => {
                self.features.push(&row)?;
                None
            }
            Err(error) => Some(error),
        };
        self.counts.count(error.as_deref());
        serde_json::to_writer(&mut self.log, &LogRow { key, error })?;
        self.log
            .write_all(b"\n")
            .map_err(failed(&self.target.log))?;
        if self.last_flush.elapsed() > FLUSH_INTERVAL {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is finished, the features first.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.last_flush = Instant::now();
        self.features.flush()?;
        self.log.flush().map_err(failed(&self.target.log))
    }

    /// Finishes the output and its keys.
    pub(super) fn finish(mut self) -> Result<Counts, CliError> {
        self.flush()?;
        let Self {
            target,
            kind,
            features,
            counts,
            ..
        } = self;
        features.finish()?;
        let (mut keys, mut errors) = (Vec::new(), Vec::new());
        for_each_row(&target.log, &mut |row, _| {
            match row.error {
                None => keys.push(row.key),
                Some(_) => errors.push(row),
            }
            Ok(true)
        })?;
        remove(&target.errors)?;
        if !errors.is_empty() {
            write_lines(&target.errors, errors.iter().map(|row| json!(row)))?;
        }
        if let Some(path) = &target.keys {
            write_keys(path, kind, &keys)?;
        }
        if target.format == OutputFormat::Parquet {
            write_table(&target, kind, &keys)?;
            remove(&target.partial)?;
        } else {
            std::fs::rename(&target.partial, &target.path).map_err(failed(&target.path))?;
        }
        remove(&target.log)?;
        Ok(counts)
    }
}

fn write_keys(path: &Path, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    if extension(path) == "parquet" {
        return keys_table(path, kind, keys);
    }
    write_lines(path, keys.iter().map(|key| json!({ kind.column(): key })))
}

#[cfg(feature = "parquet")]
fn keys_table(path: &Path, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    let partial = beside(path, ".partial");
    clipn::dataset::write_keys_table(&partial, kind, keys)?;
    std::fs::rename(&partial, path).map_err(failed(path))
}

#[cfg(feature = "parquet")]
fn write_table(target: &Target, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    let table = beside(&target.path, ".table.partial");
    let mut features = clipn::dataset::FeatureFile::open(&target.partial)?;
    clipn::dataset::write_feature_table(&table, kind, keys, &mut features)?;
    std::fs::rename(&table, &target.path).map_err(failed(&target.path))
}

#[cfg(not(feature = "parquet"))]
fn keys_table(path: &Path, _: KeyKind, _: &[String]) -> Result<(), CliError> {
    Err(clipn::dataset::FeatureError::WithoutParquet {
        path: path.to_owned(),
    }
    .into())
}

#[cfg(not(feature = "parquet"))]
fn write_table(target: &Target, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    keys_table(&target.path, kind, keys)
}

/// Writes JSON Lines atomically.
fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = serde_json::Value>,
) -> Result<(), CliError> {
    let partial = beside(path, ".partial");
    let write = || {
        let mut out = BufWriter::new(File::create(&partial)?);
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(failed(path))
}

/// Passes every complete row of a log with the offset of its end to `on_row`, until that returns false.
fn for_each_row(
    path: &Path,
    on_row: &mut dyn FnMut(LogRow, u64) -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let unreadable = |source| CliError::ReadFile {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut line, mut end, mut number) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(unreadable)?;
        number += 1;
        if line.pop() != Some(b'\n') {
            return Ok(());
        }
        end += length as u64;
        let row = serde_json::from_slice(&line).map_err(|error| CliError::DamagedRow {
            path: path.to_owned(),
            row: number,
            problem: error.to_string(),
        })?;
        if !on_row(row, end)? {
            return Ok(());
        }
    }
}

/// Opens the log and locks it: one process at a time may write the output.
fn open_log(target: &Target) -> Result<File, CliError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&target.log)
        .map_err(failed(&target.log))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(CliError::usage_with_hint(
            format!("another process is writing {}", target.path.display()),
            "wait for it, or give another --output",
        )),
        // Some file systems cannot lock; write without a lock there.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn remove(path: &Path) -> Result<(), CliError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::WriteFile {
        path: path.clone(),
        source,
    }
}
