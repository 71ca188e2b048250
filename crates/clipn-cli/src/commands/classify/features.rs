//! Rows of features in place of images.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clipn::dataset::FeatureFile;
use clipn::detector::Detector;
use clipn::inference::{ItemError, map_features, unit_features};
use clipn::progress::Progress;

use super::adapt::FeatureRow;
use super::rows::Row;
use super::shard::ShardSpec;
use crate::common::error::CliError;
use crate::common::interrupt;

/// Rows that are read and classified at a time.
const BLOCK: usize = 4096;

/// The rows of several files of this process's shard, in order.
#[derive(Debug)]
pub(crate) struct FeatureStream {
    files: Vec<FeatureFile>,
    shard: ShardSpec,
    /// The next row: the index of its file, and its index in the file.
    next: (usize, usize),
    /// Rows of all shards before the next one.
    seen: u64,
    interrupted: Arc<AtomicBool>,
}

impl FeatureStream {
    pub(crate) fn open(paths: &[PathBuf], shard: ShardSpec) -> Result<Self, CliError> {
        let files = paths.iter().map(FeatureFile::open);
        let files: Vec<FeatureFile> = files.collect::<Result<_, _>>()?;
        if let Some(first) = files.first() {
            // One of many shards may have no rows.
            if files.iter().all(FeatureFile::is_empty) {
                first.check_not_empty()?;
            }
            for file in &files {
                file.check_dim(first.dim())?;
            }
        }
        Ok(Self {
            files,
            shard,
            next: (0, 0),
            seen: 0,
            interrupted: Arc::default(),
        })
    }

    /// Checks that the features are of the classifier's model.
    pub(crate) fn check_dim(&self, dim: usize) -> Result<(), CliError> {
        for file in &self.files {
            file.check_dim(dim)?;
        }
        Ok(())
    }

    pub(crate) fn total(&self) -> u64 {
        let rows = self.files.iter().map(|file| file.len() as u64).sum();
        self.shard.len_of(rows)
    }

    pub(crate) fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Skips the next row, and returns its key.
    pub(crate) fn skip_next(&mut self) -> Option<String> {
        loop {
            let (file, row) = self.next;
            let current = self.files.get(file)?;
            if row == current.len() {
                self.next = (file + 1, 0);
                continue;
            }
            self.next.1 += 1;
            self.seen += 1;
            if self.shard.contains(self.seen - 1) {
                return Some(current.key(row));
            }
        }
    }

    /// Classifies the rows that are left, and passes the results to `sink` in order, with their normalized
    /// features if they are kept.
    pub(crate) fn classify(
        mut self,
        detector: &Detector,
        progress: &dyn Progress,
        keeps_features: bool,
        mut sink: impl FnMut(Result<FeatureRow, (String, ItemError)>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let (first, mut start) = self.next;
        for file in self.files.iter_mut().skip(first) {
            while start < file.len() {
                if interrupt::requested() {
                    self.interrupted.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                let values = file.read_rows(start, BLOCK)?;
                let count = values.len() / file.dim();
                let own: Vec<usize> = (0..count)
                    .filter(|&row| self.shard.contains(self.seen + row as u64))
                    .collect();
                let features: Vec<f32> = own
                    .iter()
                    .flat_map(|&row| &values[row * file.dim()..][..file.dim()])
                    .copied()
                    .collect();
                let keys: Vec<String> = own.iter().map(|&row| file.key(start + row)).collect();
                let unit = keeps_features.then(|| unit_features(features.clone(), file.dim()));
                let rows = map_features(detector.classifier(), &features, |index, row| {
                    let key = keys[index].clone();
                    let feature = unit.as_ref().and_then(|unit| unit.rows().nth(index));
                    match row.and_then(|row| detector.decide(row)) {
                        Ok(detection) => Ok(FeatureRow {
                            row: Row::from_detection(key, detection),
                            feature: feature.unwrap_or_default().to_vec(),
                        }),
                        Err(error) => Err((key, error)),
                    }
                })?;
                progress.advance(rows.len() as u64);
                rows.into_iter().try_for_each(&mut sink)?;
                start += count;
                self.seen += count as u64;
            }
            start = 0;
        }
        Ok(())
    }
}
