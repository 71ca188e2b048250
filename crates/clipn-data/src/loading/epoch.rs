use serde::{Deserialize, Serialize};

use super::error::TrainingDataError;
use super::pipeline::{Output, Pipeline};
use super::skipped::{Skipped, SkippedSample};
use clipn_image::Preprocessing;

/// N samples to train on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainBatch {
    /// Normalised pixels of the samples `pictured`, `[P, 3, S, S]`.
    pub pixels: Vec<f32>,
    /// Which samples have pixels, ascending: all but those whose pictures the loader was told to be known.
    pub pictured: Vec<usize>,
    /// `[N]`, as they stand in the data.
    pub captions: Vec<String>,
    /// `[N]`, where the samples come from: `shard/key` or `table:line`.
    pub keys: Vec<String>,
}

/// A place between two batches of an epoch on one process. Each process keeps its own: broken samples make them differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch.
    pub epoch: u64,
    /// Batches delivered in it.
    pub batches: u64,
    /// What was drawn in it: samples, skipped ones among them, and ends of passes over the data.
    pub drawn: u64,
    /// What was skipped in it.
    pub skipped: Skipped,
    /// Tells whether data and settings are the same when resuming.
    pub fingerprint: String,
}

/// The batches of one epoch on one process, in order. Dropping it stops its threads.
pub struct Epoch {
    pub(super) pipeline: Pipeline,
    pub(super) preprocessing: Preprocessing,
    pub(super) batch_size: usize,
    pub(super) batches: u64,
    pub(super) max_bad: Option<u64>,
    pub(super) position: Position,
    pub(super) passes: Passes,
    pub(super) failed: bool,
}

/// Watches for data of which nothing can be used.
#[derive(Debug, Default)]
pub(super) struct Passes {
    delivered: bool,
    empty: u32,
}

impl Passes {
    /// Whether two passes ended without a sample: the first may have been resumed near its end.
    fn is_hopeless(&mut self) -> bool {
        self.empty = if self.delivered { 0 } else { self.empty + 1 };
        self.delivered = false;
        self.empty >= 2
    }
}

impl Epoch {
    /// Batches of the whole epoch.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Where the epoch stands, after the batches delivered so far: what to keep in a checkpoint.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// What was left out so far.
    pub fn skipped(&self) -> &Skipped {
        &self.position.skipped
    }

    /// Puts the next batch into `batch`, whose memory is used again; `false` when the epoch is over.
    ///
    /// # Errors
    /// [`TrainingDataError::TooManyBad`], [`TrainingDataError::NothingUsable`] and [`TrainingDataError::Stopped`]; after
    /// one of them the epoch is over.
    pub fn next_into(&mut self, batch: &mut TrainBatch) -> Result<bool, TrainingDataError> {
        if self.failed || self.position.batches >= self.batches {
            return Ok(false);
        }
        let filled = self.fill(batch);
        self.failed = filled.is_err();
        filled.map(|()| true)
    }

    fn fill(&mut self, batch: &mut TrainBatch) -> Result<(), TrainingDataError> {
        batch.captions.clear();
        batch.keys.clear();
        batch.pictured.clear();
        let mut drawn = 0;
        let mut skipped = self.position.skipped.clone();
        while batch.keys.len() < self.batch_size {
            drawn += 1;
            match self.pipeline.next()? {
                Output::Sample(sample) => {
                    if let Some(crop) = &sample.crop {
                        self.preprocessing
                            .normalise_into(crop, self.next_pixels(batch))?;
                        batch.pictured.push(batch.keys.len());
                    }
                    batch.captions.push(sample.caption);
                    batch.keys.push(sample.key);
                    self.passes.delivered = true;
                }
                Output::Skip(sample) => self.leave_out(&mut skipped, *sample)?,
                Output::PassEnd if self.passes.is_hopeless() => {
                    return Err(TrainingDataError::NothingUsable {
                        skipped: Box::new(skipped),
                    });
                }
                Output::PassEnd => {}
            }
        }
        batch
            .pixels
            .truncate(batch.pictured.len() * self.preprocessing.tensor_len());
        self.position.batches += 1;
        self.position.drawn += drawn;
        self.position.skipped = skipped;
        Ok(())
    }

    /// Room for one more picture, in memory that an earlier batch has used where it did.
    fn next_pixels<'a>(&self, batch: &'a mut TrainBatch) -> &'a mut [f32] {
        let values = self.preprocessing.tensor_len();
        let start = batch.pictured.len() * values;
        if batch.pixels.len() < start + values {
            // The first picture of a batch is seldom the only one.
            batch
                .pixels
                .reserve_exact(self.batch_size * values - batch.pixels.len());
            batch.pixels.resize(start + values, 0.0);
        }
        &mut batch.pixels[start..start + values]
    }

    fn leave_out(
        &self,
        skipped: &mut Skipped,
        sample: SkippedSample,
    ) -> Result<(), TrainingDataError> {
        skipped.add(sample);
        match self.max_bad {
            Some(limit) if skipped.total() > limit => Err(TrainingDataError::TooManyBad {
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
