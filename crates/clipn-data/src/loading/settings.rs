use serde::{Deserialize, Serialize};

use super::TrainingDataError;
use clipn_image::{Augmentation, Preprocessing};

/// How samples follow one another in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every sample once, in a random order.
    Shuffled,
    /// Shards (or rows of a table) drawn at random, again and again, until the epoch is full.
    WithReplacement,
    /// Every sample once, in the order of the data.
    InOrder,
}

/// What becomes of samples that fill no whole batch for every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// They are left out of the epoch.
    Floor,
    /// One more batch is made of them and of the epoch's first samples once more.
    Ceil,
}

/// How many broken samples end the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxBad {
    /// More than this many in an epoch on one process.
    Count(u64),
    /// More than this share, 0 to 1, of an epoch's samples on one process.
    Share(f64),
    /// None.
    Unlimited,
}

/// Samples that wait, undecoded, to be drawn in random order: the larger, the better mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleBuffer {
    /// The most samples that wait.
    pub samples: usize,
    /// The most bytes that wait.
    pub bytes: u64,
}

impl Default for ShuffleBuffer {
    /// open_clip's 5000 samples, of at most 1 GiB.
    fn default() -> Self {
        Self {
            samples: 5000,
            bytes: 1 << 30,
        }
    }
}

/// How training data are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoaderSettings {
    /// N: samples a batch, on one process.
    pub batch_size: usize,
    /// Size, normalisation and decoding of pixels.
    pub preprocessing: Preprocessing,
    /// What is done to pictures at random.
    pub augmentation: Augmentation,
    /// What the order and the augmentation depend on, with the epoch.
    pub seed: u64,
    /// Which process this is, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world_size: usize,
    /// Threads that decode and augment ahead; 0 does it all where batches are asked for. The batches are the same.
    pub workers: usize,
    /// Samples prepared ahead; `None` is one batch and four samples a worker.
    pub prefetch: Option<usize>,
    /// How samples follow one another.
    pub sampling: Sampling,
    /// How well the samples of neighbouring shards are mixed.
    pub shuffle: ShuffleBuffer,
    /// Samples of an epoch over all processes; `None` is as many as there are.
    pub train_num_samples: Option<u64>,
    /// What becomes of the last, incomplete batch.
    pub rounding: Rounding,
    /// How many broken samples end the run.
    pub max_bad: MaxBad,
}

impl LoaderSettings {
    /// The published augmentation and pixels of `size`, batches of `batch_size`, one process and one worker, every
    /// sample once an epoch, incomplete batches left out, at most a tenth of the samples broken.
    pub fn new(size: usize, batch_size: usize) -> Self {
        Self {
            batch_size,
            preprocessing: Preprocessing::clip(size),
            augmentation: Augmentation::published(),
            seed: 0,
            rank: 0,
            world_size: 1,
            workers: 1,
            prefetch: None,
            sampling: Sampling::Shuffled,
            shuffle: ShuffleBuffer::default(),
            train_num_samples: None,
            rounding: Rounding::Floor,
            max_bad: MaxBad::Share(0.1),
        }
    }

    /// Samples prepared ahead, at least one.
    pub(super) fn ahead(&self) -> usize {
        let usual = self
            .batch_size
            .saturating_add(self.workers.saturating_mul(4));
        self.prefetch.unwrap_or(usual).clamp(1, 1 << 20)
    }

    pub(super) fn check(&self) -> Result<(), TrainingDataError> {
        let refuse =
            |setting, problem: String| Err(TrainingDataError::Setting { setting, problem });
        self.augmentation.check()?;
        self.preprocessing.check()?;
        if self.batch_size == 0 {
            return refuse("batch_size", "is 0: give at least 1".to_string());
        }
        let values = self.batch_size.checked_mul(self.preprocessing.tensor_len());
        if values.is_none_or(|values| values > isize::MAX as usize / size_of::<f32>()) {
            return refuse(
                "batch_size",
                format!("is {}, more than memory holds", self.batch_size),
            );
        }
        if self.rank >= self.world_size {
            let problem = format!(
                "is {}, but must be below world_size, {}",
                self.rank, self.world_size
            );
            return refuse("rank", problem);
        }
        if self.workers > 1024 {
            return refuse("workers", format!("is {}: give at most 1024", self.workers));
        }
        match self.max_bad {
            MaxBad::Share(share) if !(0.0..=1.0).contains(&share) => refuse(
                "max_bad",
                format!("is a share of {share}, but must be from 0 to 1"),
            ),
            _ => Ok(()),
        }
    }
}
