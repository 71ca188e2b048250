use std::fmt;
use std::sync::Arc;

use clipn_image::{Preprocessing, RgbImage};
use serde::{Deserialize, Serialize};

use crate::training::error::TrainingDataError;
use crate::training::loading::peers::{BatchPeers, DrawOutcomes, gather_skipped};
use crate::training::loading::pipeline::{Pipeline, PipelineOutput};
use crate::training::loading::prepare::{FeatureKeys, Prepared};
use crate::training::skipped::{SkippedSample, SkippedSamples};

/// A batch of `N` training samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainBatch {
    /// Normalized pixels of the samples in `decoded`, `[P, 3, S, S]`.
    pub pixels: Vec<f32>,
    /// Normalized pixels of the outliers made from the samples in `decoded`, `[P, 3, S, S]`; empty if
    /// [`LoaderSettings::outliers`](crate::LoaderSettings::outliers) is `None`.
    pub outliers: Vec<f32>,
    /// Indices of the samples with pixels, ascending, `[P]`: all but those that
    /// [`CachedImages`](crate::CachedImages) has the features of.
    pub decoded: Vec<usize>,
    /// Captions as in the data, `[N]`.
    pub captions: Vec<String>,
    /// Origins of the samples, `shard/key` or `table:line`, `[N]`.
    pub keys: Vec<String>,
    /// Keys of the features of the images, `[N]`; empty without [`CachedImages`](crate::CachedImages).
    pub feature_keys: Vec<FeatureKeys>,
    /// Indices of the samples in the batch of all processes, ascending, `[N]`.
    pub positions: Vec<usize>,
    /// Number of samples in the batch of all processes that share it; `N` if this process reads
    /// batches of its own.
    pub total: usize,
}

impl TrainBatch {
    /// Removes the samples, but keeps the memory of pixels.
    fn clear(&mut self) {
        self.captions.clear();
        self.keys.clear();
        self.feature_keys.clear();
        self.decoded.clear();
        self.outliers.clear();
        self.positions.clear();
    }
}

/// EpochPosition between two batches of an epoch in one process. Each process has its own, since broken
/// samples make them differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochPosition {
    /// Index of the epoch.
    pub epoch: u64,
    /// Number of batches delivered in the epoch.
    pub batches: u64,
    /// Number of draws in the epoch: samples, including skipped ones, and ends of passes over the
    /// data.
    pub drawn: u64,
    /// Samples skipped in the epoch.
    pub skipped: SkippedSamples,
    /// Hash of names, sizes and settings, compared when resuming.
    pub fingerprint: String,
    /// Hash of the data ([`CaptionSource::checksum`](super::CaptionSource::checksum)), compared when resuming; positions of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<u64>,
}

/// Iterator over the batches of an epoch in one process. Dropping it stops its threads.
pub struct Epoch {
    pub(super) pipeline: Pipeline,
    pub(super) preprocessing: Preprocessing,
    pub(super) batch_size: usize,
    pub(super) batches: u64,
    pub(super) allowance: SkipAllowance,
    pub(super) position: EpochPosition,
    pub(super) passes: EmptyPassDetector,
    pub(super) failed: bool,
    /// The processes that share the batches.
    pub(super) peers: Option<Arc<dyn BatchPeers>>,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch")
            .field("batch_size", &self.batch_size)
            .field("batches", &self.batches)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Maximum number of broken samples of a process in an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SkipAllowance {
    Count(u64),
    /// A fraction of this many samples, or of those drawn so far if the data are read repeatedly.
    Fraction {
        fraction: f64,
        samples: u64,
    },
    Unlimited,
}

impl SkipAllowance {
    /// Returns the limit after `drawn` samples, broken ones included; `None` for no limit.
    fn limit(self, drawn: u64) -> Option<u64> {
        match self {
            Self::Count(count) => Some(count),
            Self::Fraction { fraction, samples } => {
                Some((samples.max(drawn) as f64 * fraction) as u64)
            }
            Self::Unlimited => None,
        }
    }
}

/// Detects data without any usable sample.
#[derive(Debug, Default)]
pub(super) struct EmptyPassDetector {
    delivered: bool,
    empty: u32,
}

impl EmptyPassDetector {
    /// Returns whether two consecutive passes ended without a sample. One is not enough, since it
    /// may have been resumed near its end.
    fn is_exhausted(&mut self) -> bool {
        self.empty = if self.delivered { 0 } else { self.empty + 1 };
        self.delivered = false;
        self.empty >= 2
    }

    /// Same after draws of all processes together.
    fn is_exhausted_after(&mut self, usable: usize, pass_ends: u32) -> bool {
        self.delivered |= usable > 0;
        (0..pass_ends).any(|_| self.is_exhausted())
    }
}

impl Epoch {
    /// Returns the number of batches in the whole epoch.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Returns the position after the batches delivered so far, for a checkpoint.
    pub fn position(&self) -> &EpochPosition {
        &self.position
    }

    /// Returns the samples skipped so far, of those that this process reads.
    pub fn skipped(&self) -> &SkippedSamples {
        &self.position.skipped
    }

    /// Writes the next batch to `batch`, whose memory is reused; returns `false` at the end of the
    /// epoch.
    ///
    /// # Errors
    /// [`TrainingDataError::TooManySkipped`], [`TrainingDataError::NoUsableSample`] and
    /// [`TrainingDataError::ThreadStopped`]; each ends the epoch.
    pub fn next_into(&mut self, batch: &mut TrainBatch) -> Result<bool, TrainingDataError> {
        if self.failed || self.position.batches >= self.batches {
            return Ok(false);
        }
        let filled = match self.peers.clone() {
            None => self.fill(batch),
            Some(peers) => self.fill_with_peers(batch, &*peers),
        };
        self.failed = filled.is_err();
        filled.map(|()| true)
    }

    fn fill(&mut self, batch: &mut TrainBatch) -> Result<(), TrainingDataError> {
        batch.clear();
        let mut drawn = 0;
        let mut skipped = self.position.skipped.clone();
        while batch.keys.len() < self.batch_size {
            drawn += 1;
            match self.pipeline.next()? {
                PipelineOutput::Sample(sample) => {
                    self.push(batch, *sample)?;
                    self.passes.delivered = true;
                }
                PipelineOutput::Skip(sample) => {
                    let delivered = self.position.batches * self.batch_size as u64;
                    let delivered = delivered + batch.keys.len() as u64;
                    self.add_skipped(&mut skipped, *sample, delivered)?;
                }
                PipelineOutput::PassEnd if self.passes.is_exhausted() => {
                    return Err(TrainingDataError::NoUsableSample {
                        skipped: Box::new(skipped),
                    });
                }
                PipelineOutput::PassEnd | PipelineOutput::Elsewhere => {}
            }
        }
        batch.total = batch.keys.len();
        batch.positions.extend(0..batch.total);
        self.trim_pixels(batch);
        self.position.batches += 1;
        self.position.drawn += drawn;
        self.position.skipped = skipped;
        Ok(())
    }

    /// Draws until all processes together have a whole batch. Each of them draws the same number of
    /// times, so they stay at the same position.
    fn fill_with_peers(
        &mut self,
        batch: &mut TrainBatch,
        peers: &dyn BatchPeers,
    ) -> Result<(), TrainingDataError> {
        batch.clear();
        batch.total = self.batch_size;
        let mut drawn = 0;
        let mut skipped = self.position.skipped.clone();
        let mut usable = 0;
        while usable < self.batch_size {
            let draws = self.batch_size - usable;
            drawn += draws as u64;
            let mut own = DrawOutcomes::default();
            let mut pass_ends = 0;
            for offset in 0..draws as u32 {
                match self.pipeline.next()? {
                    PipelineOutput::Sample(sample) => {
                        self.push(batch, *sample)?;
                        own.usable.push(offset);
                    }
                    PipelineOutput::Skip(sample) => skipped.add(*sample),
                    PipelineOutput::PassEnd => pass_ends += 1,
                    PipelineOutput::Elsewhere => {}
                }
            }
            own.skipped = skipped.total();
            let outcomes = own.gather(peers)?;
            let mut offsets: Vec<u32> = outcomes.iter().flat_map(|o| o.usable.clone()).collect();
            offsets.sort_unstable();
            let position = |offset| usable + offsets.partition_point(|&other| other < offset);
            batch
                .positions
                .extend(own.usable.iter().map(|&offset| position(offset)));
            usable += offsets.len();
            let lost = outcomes
                .iter()
                .fold(0u64, |sum, o| sum.saturating_add(o.skipped));
            let delivered = self.position.batches * self.batch_size as u64 + usable as u64;
            let limit = self.allowance.limit(delivered.saturating_add(lost));
            if let Some(limit) = limit.filter(|&limit| lost > limit) {
                return Err(TrainingDataError::TooManySkipped {
                    limit,
                    skipped: Box::new(gather_skipped(&skipped, peers)?),
                });
            }
            if self.passes.is_exhausted_after(offsets.len(), pass_ends) {
                return Err(TrainingDataError::NoUsableSample {
                    skipped: Box::new(gather_skipped(&skipped, peers)?),
                });
            }
        }
        self.trim_pixels(batch);
        self.position.batches += 1;
        self.position.drawn += drawn;
        self.position.skipped = skipped;
        Ok(())
    }

    /// Adds a sample to the batch.
    fn push(&self, batch: &mut TrainBatch, sample: Prepared) -> Result<(), TrainingDataError> {
        if let Some(crop) = &sample.crop {
            self.preprocessing
                .normalize_into(crop, self.next_pixels(batch))?;
            self.add_outlier(sample.outlier.as_ref(), &mut batch.outliers)?;
            batch.decoded.push(batch.keys.len());
        }
        batch.captions.push(sample.caption);
        batch.keys.push(sample.key);
        batch.feature_keys.extend(sample.feature_keys);
        Ok(())
    }

    /// Cuts off pixels of an earlier batch.
    fn trim_pixels(&self, batch: &mut TrainBatch) {
        let values = batch.decoded.len() * self.preprocessing.tensor_len();
        batch.pixels.truncate(values);
    }

    /// Returns the position with the samples that all processes skipped. If processes share the
    /// batches, every one of them has to call it; the position is then the same for any number of
    /// processes.
    ///
    /// # Errors
    /// [`TrainingDataError::Peers`] if the exchange fails.
    pub fn shared_position(&self) -> Result<EpochPosition, TrainingDataError> {
        let mut position = self.position.clone();
        if let Some(peers) = &self.peers {
            position.skipped = gather_skipped(&position.skipped, &**peers)?;
        }
        Ok(position)
    }

    /// Returns the pixels of one more image, in memory of an earlier batch if possible.
    fn next_pixels<'a>(&self, batch: &'a mut TrainBatch) -> &'a mut [f32] {
        let values = self.preprocessing.tensor_len();
        let start = batch.decoded.len() * values;
        if batch.pixels.len() < start + values {
            // The first image of a batch is seldom the only one.
            batch
                .pixels
                .reserve_exact(self.batch_size * values - batch.pixels.len());
            batch.pixels.resize(start + values, 0.0);
        }
        &mut batch.pixels[start..start + values]
    }

    fn add_outlier(
        &self,
        outlier: Option<&RgbImage>,
        outliers: &mut Vec<f32>,
    ) -> Result<(), TrainingDataError> {
        let Some(outlier) = outlier else {
            return Ok(());
        };
        let start = outliers.len();
        outliers.resize(start + self.preprocessing.tensor_len(), 0.0);
        Ok(self
            .preprocessing
            .normalize_into(outlier, &mut outliers[start..])?)
    }

    fn add_skipped(
        &self,
        skipped: &mut SkippedSamples,
        sample: SkippedSample,
        delivered: u64,
    ) -> Result<(), TrainingDataError> {
        skipped.add(sample);
        match self
            .allowance
            .limit(delivered.saturating_add(skipped.total()))
        {
            Some(limit) if skipped.total() > limit => Err(TrainingDataError::TooManySkipped {
                limit,
                skipped: Box::new(skipped.clone()),
            }),
            _ => Ok(()),
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<TrainBatch, TrainingDataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = TrainBatch::default();
        match self.next_into(&mut batch) {
            Ok(true) => Some(Ok(batch)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
