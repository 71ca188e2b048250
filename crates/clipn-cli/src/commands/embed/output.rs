//! Features and keys in files that a killed run can resume.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clipn::dataset::{FeatureWriter, KeyKind, LostSource};
use clipn::files::{self, LockError, NewFile, StateLock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::target::{OutputFormat, Target, extension};
use crate::commands::classify::RunSettings;
use crate::common::error::CliError;
use crate::common::locks::reported;

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
    _lock: StateLock,
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
        replaces: bool,
    ) -> Result<Self, CliError> {
        let log = open_log(&target)?;
        let length = log.0.metadata().map_err(failed(&target.log))?.len();
        if !replaces && (length > 0 || target.path.exists()) {
            if length == 0 {
                remove(&target.log)?;
            }
            target.refuse_existing()?;
        }
        Self::begin(target, log, settings, shape)
    }

    /// Empties the log and makes the other files, the settings last.
    fn begin(
        target: Target,
        log: (File, StateLock),
        settings: &RunSettings,
        shape: RowShape,
    ) -> Result<Self, CliError> {
        log.0.set_len(0).map_err(failed(&target.log))?;
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

    /// Opens the files of an interrupted run, and passes the items that are in them to `on_row`. A log
    /// without any byte is that of a run that was stopped before its first item: it is begun.
    pub(super) fn resume(
        target: Target,
        settings: &RunSettings,
        shape: RowShape,
        mut on_row: impl FnMut(u64, LogRow) -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        let mut log = open_log(&target)?;
        let length = log.0.metadata().map_err(failed(&target.log))?.len();
        if length == 0 {
            return Self::begin(target, log, settings, shape);
        }
        settings.check(&target.path, &target.settings)?;
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
        let file = &mut log.0;
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .map_err(failed(&target.log))?;
        Ok(Self {
            counts,
            ..Self::new(target, shape.kind, features, log)
        })
    }

    fn new(
        target: Target,
        kind: KeyKind,
        features: FeatureWriter,
        (log, lock): (File, StateLock),
    ) -> Self {
        Self {
            target,
            kind,
            features,
            log: BufWriter::new(log),
            _lock: lock,
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
            commit(&target.partial, &target.path).map_err(failed(&target.path))?;
        }
        remove(&target.log)?;
        Ok(counts)
    }
}

/// Removes the log of a complete run that was killed before it did so itself.
pub(super) fn remove_leftovers(target: &Target) -> Result<(), CliError> {
    if target.log.exists() {
        let _locked = open_log(target)?;
        remove(&target.log)?;
    }
    Ok(())
}

fn write_keys(path: &Path, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    if extension(path) == "parquet" {
        return keys_table(path, kind, keys);
    }
    write_lines(path, keys.iter().map(|key| json!({ kind.column(): key })))
}

#[cfg(feature = "parquet")]
fn keys_table(path: &Path, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    let new = NewFile::create(path).map_err(failed(path))?;
    clipn::dataset::write_keys_table(new.temporary_path(), kind, keys)?;
    new.commit().map_err(failed(path))
}

#[cfg(feature = "parquet")]
fn write_table(target: &Target, kind: KeyKind, keys: &[String]) -> Result<(), CliError> {
    let new = NewFile::create(&target.path).map_err(failed(&target.path))?;
    let mut features = clipn::dataset::FeatureFile::open(&target.partial)?;
    clipn::dataset::write_feature_table(new.temporary_path(), kind, keys, &mut features)?;
    new.commit().map_err(failed(&target.path))
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

/// Syncs a complete file and renames it.
fn commit(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    files::rename(from, to)?;
    match to.parent() {
        Some(directory) if directory != Path::new("") => files::sync_directory(directory),
        _ => files::sync_directory("."),
    }
}

/// Writes JSON Lines as a whole.
fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = serde_json::Value>,
) -> Result<(), CliError> {
    let write = || {
        let mut out = BufWriter::new(NewFile::create(path)?);
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .commit()
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
fn open_log(target: &Target) -> Result<(File, StateLock), CliError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&target.log)
        .map_err(failed(&target.log))?;
    match StateLock::of_open_file(&target.log, &file) {
        Err(LockError::InUse { holder, .. }) => Err(CliError::usage_with_hint(
            format!("{holder} is writing {}", target.path.display()),
            "wait for it, or give another --output",
        )),
        lock => Ok((file, reported(lock?))),
    }
}

fn remove(path: &Path) -> Result<(), CliError> {
    match files::remove_file(path) {
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
