use clipn_image::{Augmentation, OutlierMix, Preprocessing};
use serde::{Deserialize, Serialize};

use crate::training::error::TrainingDataError;

/// Order of the samples in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sampling {
    /// Every sample once, in random order.
    Shuffled,
    /// Shards (or rows of a table) drawn at random with replacement until the epoch is complete.
    WithReplacement,
    /// Every sample once, in the order of the data.
    InOrder,
}

/// Handling of the samples that do not fill a whole batch in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rounding {
    /// They are dropped from the epoch.
    Floor,
    /// They form one more batch, filled up with the first samples of the epoch.
    Ceil,
}

/// Limit on broken samples; exceeding it is an error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipLimit {
    /// Maximum number per epoch and process.
    Count(u64),
    /// Maximum fraction of the samples per epoch and process, from 0 to 1.
    #[serde(rename = "share")]
    Fraction(f64),
    /// No limit.
    Unlimited,
}

/// Size limits of the buffer of undecoded samples that are drawn in random order. A larger buffer
/// shuffles better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleBuffer {
    /// Maximum number of samples.
    pub samples: usize,
    /// Maximum number of bytes.
    pub bytes: u64,
}

impl Default for ShuffleBuffer {
    /// Returns open_clip's 5000 samples, with at most 1 GiB.
    fn default() -> Self {
        Self {
            samples: 5000,
            bytes: 1 << 30,
        }
    }
}

/// Settings of a [`CaptionLoader`](crate::CaptionLoader).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoaderSettings {
    /// Samples per batch and process, `N`.
    pub batch_size: usize,
    /// Image size, normalization and decoding.
    pub preprocessing: Preprocessing,
    /// Random augmentation of images.
    pub augmentation: Augmentation,
    /// Kinds of the [synthetic outliers](clipn_image::SyntheticOutlier), one with each image; `None` for no
    /// outliers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outliers: Option<OutlierMix>,
    /// Seed of the order and the augmentation, combined with the epoch.
    pub seed: u64,
    /// Index of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
    /// Threads that decode and augment ahead; with 0 the calling thread does. The batches are the
    /// same.
    pub workers: usize,
    /// Number of samples prepared ahead; `None` means one batch plus four samples per worker.
    pub prefetch: Option<usize>,
    /// Order of the samples.
    pub sampling: Sampling,
    /// Shuffle buffer, which mixes the samples of adjacent shards.
    pub shuffle: ShuffleBuffer,
    /// Samples per epoch over all processes; `None` means all.
    pub train_num_samples: Option<u64>,
    /// Handling of the last, incomplete batch.
    pub rounding: Rounding,
    /// Limit on broken samples.
    #[serde(rename = "max_bad")]
    pub max_skipped: SkipLimit,
}

impl LoaderSettings {
    /// Creates settings with the published augmentation, images of `size`, batches of `batch_size`,
    /// one process and one worker. Every sample occurs once per epoch, incomplete batches are
    /// dropped, and at most a tenth of the samples may be broken.
    pub fn new(size: usize, batch_size: usize) -> Self {
        Self {
            batch_size,
            preprocessing: Preprocessing::clip(size),
            augmentation: Augmentation::published(),
            outliers: None,
            seed: 0,
            rank: 0,
            world_size: 1,
            workers: 1,
            prefetch: None,
            sampling: Sampling::Shuffled,
            shuffle: ShuffleBuffer::default(),
            train_num_samples: None,
            rounding: Rounding::Floor,
            max_skipped: SkipLimit::Fraction(0.1),
        }
    }

    /// Returns the number of samples prepared ahead, at least one.
    pub(super) fn prefetch_count(&self) -> usize {
        let default = self
            .batch_size
            .saturating_add(self.workers.saturating_mul(4));
        self.prefetch.unwrap_or(default).clamp(1, 1 << 20)
    }

    pub(super) fn check(&self) -> Result<(), TrainingDataError> {
        let refuse =
            |setting, problem: String| Err(TrainingDataError::Setting { setting, problem });
        self.augmentation.validate()?;
        self.preprocessing.validate()?;
        if self.batch_size == 0 {
            return refuse("batch_size", "expected at least 1, got 0".to_string());
        }
        let values = self.batch_size.checked_mul(self.preprocessing.tensor_len());
        if values.is_none_or(|values| values > isize::MAX as usize / size_of::<f32>()) {
            return refuse(
                "batch_size",
                format!("{} exceeds the address space", self.batch_size),
            );
        }
        if self.rank >= self.world_size {
            let problem = format!(
                "expected less than world_size {}, got {}",
                self.world_size, self.rank
            );
            return refuse("rank", problem);
        }
        if self.workers > 1024 {
            return refuse(
                "workers",
                format!("expected at most 1024, got {}", self.workers),
            );
        }
        match self.max_skipped {
            SkipLimit::Fraction(fraction) if !(0.0..=1.0).contains(&fraction) => refuse(
                "max_bad",
                format!("expected a fraction from 0 to 1, got {fraction}"),
            ),
            _ => Ok(()),
        }
    }
}
