use std::sync::Arc;

use crate::training::error::TrainingDataError;
use crate::training::loading::epoch::{EmptyPassDetector, Epoch, EpochPosition, SkipAllowance};
use crate::training::loading::peers::{BatchPeers, DrawOwnership};
use crate::training::loading::pipeline::{ItemStream, Pipeline};
use crate::training::loading::prepare::{CachedImages, SamplePreparer};
use crate::training::loading::settings::{
    LoaderSettings, Rounding, Sampling, ShuffleBuffer, SkipLimit,
};
use crate::training::loading::shuffle::ShuffleIterator;
use crate::training::loading::source::CaptionSource;
use crate::training::random::{KeyedRandom, Purpose, StableHash};
use crate::training::skipped::SkippedSamples;
use crate::training::webdataset::DamageReport;

/// Loader of training data, epoch by epoch.
///
/// ```
/// use clipn_data::{CaptionLoader, LoaderSettings, SampleFields, ShardSet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # clipn_testing::shards::write_shards(directory.path(), &[3, 5]);
/// # let spec = format!("{}/s-{{0..1}}.tar", directory.path().display());
/// let shards = ShardSet::open(&spec, SampleFields::default())?;
/// let loader = CaptionLoader::new(shards.into(), LoaderSettings::new(32, 4))?;
/// assert_eq!(loader.batches_per_epoch(), 2);
/// for batch in loader.epoch(0)? {
///     let batch = batch?;
///     assert_eq!(batch.captions.len(), 4);
///     assert_eq!(batch.pixels.len(), 4 * 3 * 32 * 32);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CaptionLoader {
    source: CaptionSource,
    settings: LoaderSettings,
    batches: u64,
    /// Samples of an epoch over all processes, with those that are lost with damaged shards.
    expected: u64,
    fingerprint: String,
    checksum: u64,
    cached: Option<Arc<dyn CachedImages>>,
    peers: Option<Arc<dyn BatchPeers>>,
}

impl CaptionLoader {
    /// Checks that the data and the settings yield at least one batch in every process, and that
    /// damaged shards do not lose more than [`LoaderSettings::max_skipped`] allows. No image is read.
    ///
    /// # Errors
    /// [`TrainingDataError::Setting`] and [`TrainingDataError::Image`] for an invalid setting,
    /// [`TrainingDataError::DamagedShards`], [`TrainingDataError::UnknownSize`],
    /// [`TrainingDataError::TooFewShards`] and [`TrainingDataError::TooFewSamples`].
    pub fn new(source: CaptionSource, settings: LoaderSettings) -> Result<Self, TrainingDataError> {
        settings.check()?;
        let world_size = settings.world_size;
        let damage = source.damage(settings.train_num_samples);
        if let Some(report) = &damage {
            check_damage(report, &settings)?;
        }
        if let CaptionSource::Shards(set) = &source {
            let shards = set.shards().len();
            let splittable = set.shards().iter().all(|shard| shard.samples.is_some());
            if !splittable && shards < world_size && settings.sampling != Sampling::WithReplacement
            {
                return Err(TrainingDataError::TooFewShards { shards, world_size });
            }
        }
        let samples = match (settings.train_num_samples.or(source.samples()), &source) {
            (Some(samples), _) => samples,
            (None, CaptionSource::Shards(set)) => return Err(set.unknown_size_error()),
            (None, _) => 0,
        };
        let global_batch = (settings.batch_size as u64).saturating_mul(world_size as u64);
        let batches = match settings.rounding {
            Rounding::Floor => samples / global_batch,
            Rounding::Ceil => samples.div_ceil(global_batch),
        };
        let expected = match &damage {
            Some(report) if settings.train_num_samples.is_none() => report.total.max(samples),
            _ => batches * global_batch,
        };
        if batches == 0 {
            if let Some(report) = damage.filter(|_| expected >= global_batch || samples == 0) {
                return Err(damaged(report, None));
            }
            let batch_size = settings.batch_size;
            return Err(TrainingDataError::TooFewSamples {
                samples,
                batch_size,
                world_size,
            });
        }
        let (fingerprint, checksum) = (fingerprint(&source, &settings), source.checksum());
        Ok(Self {
            checksum,
            source,
            settings,
            batches,
            expected,
            fingerprint,
            cached: None,
            peers: None,
        })
    }

    /// Sets the images that need not be decoded: those whose features `cached` has. Their samples are
    /// delivered in order without pixels.
    #[must_use]
    pub fn with_cached_images(self, cached: Arc<dyn CachedImages>) -> Self {
        Self {
            cached: Some(cached),
            ..self
        }
    }

    /// Shares the batches with other processes: each prepares a part of every batch, and all together
    /// have the batches that a single process would have. A batch has
    /// [`LoaderSettings::batch_size`] samples over all processes, and limits on broken samples hold
    /// for all processes together; positions do not depend on the number of processes.
    ///
    /// Every process reads all shards, and decodes only the images of its own samples.
    ///
    /// # Errors
    /// [`TrainingDataError::Setting`] if [`LoaderSettings::world_size`] is not 1, which splits the
    /// data in another way, or a batch has fewer samples than there are processes.
    pub fn with_peers(self, peers: Arc<dyn BatchPeers>) -> Result<Self, TrainingDataError> {
        let refuse = |setting, problem| Err(TrainingDataError::Setting { setting, problem });
        if self.settings.world_size != 1 {
            let problem = format!(
                "expected 1 for batches shared by processes, got {}",
                self.settings.world_size
            );
            return refuse("world_size", problem);
        }
        if self.settings.batch_size < peers.world_size() {
            let problem = format!(
                "expected at least {}, the number of processes, got {}",
                peers.world_size(),
                self.settings.batch_size
            );
            return refuse("batch_size", problem);
        }
        Ok(Self {
            peers: Some(peers),
            ..self
        })
    }

    /// Returns the data.
    pub fn source(&self) -> &CaptionSource {
        &self.source
    }

    /// Returns the settings.
    pub fn settings(&self) -> &LoaderSettings {
        &self.settings
    }

    /// Returns the number of batches per epoch, the same in every process, regardless of broken
    /// samples.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches
    }

    /// Returns the number of samples per epoch over all processes: batches · N · processes.
    pub fn samples_per_epoch(&self) -> u64 {
        self.batches * self.settings.batch_size as u64 * self.settings.world_size as u64
    }

    /// Starts an epoch at its first batch.
    ///
    /// # Errors
    /// [`TrainingDataError::Thread`] if a thread cannot be started.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch, TrainingDataError> {
        let (skipped, fingerprint) = (SkippedSamples::default(), self.fingerprint.clone());
        self.start(EpochPosition {
            epoch,
            batches: 0,
            drawn: 0,
            skipped,
            fingerprint,
            data: Some(self.checksum),
        })
    }

    /// Resumes an epoch at a position from [`Epoch::position`], with the same batches as without
    /// the interruption. Preceding data are read again (shards) or skipped (tables) without
    /// decoding images.
    ///
    /// # Errors
    /// [`TrainingDataError::PositionMismatch`] if the position was taken with other data or settings, and
    /// the errors of [`CaptionLoader::epoch`].
    pub fn resume(&self, position: EpochPosition) -> Result<Epoch, TrainingDataError> {
        self.check_position(&position)?;
        self.start(position)
    }

    /// Checks that an epoch can be [resumed](Self::resume) at a position.
    ///
    /// # Errors
    /// [`TrainingDataError::PositionMismatch`] if the position was taken with other data or settings.
    pub fn check_position(&self, position: &EpochPosition) -> Result<(), TrainingDataError> {
        let has_other_data = position.data.is_some_and(|data| data != self.checksum);
        let has_other_settings = position.fingerprint != self.fingerprint;
        if has_other_settings || has_other_data || position.batches > self.batches {
            return Err(TrainingDataError::PositionMismatch {
                epoch: position.epoch,
                batch: position.batches,
            });
        }
        Ok(())
    }

    fn start(&self, mut position: EpochPosition) -> Result<Epoch, TrainingDataError> {
        let settings = &self.settings;
        let epoch = position.epoch;
        let preparer = SamplePreparer {
            preprocessing: settings.preprocessing.clone(),
            augmentation: settings.augmentation,
            outliers: settings.outliers,
            seed: settings.seed,
            epoch,
            cached: self.cached.clone(),
        };
        let items = self.source.items(settings, epoch);
        let random = KeyedRandom::keyed(
            Purpose::Buffer,
            &[settings.seed, epoch, settings.rank as u64],
        );
        let draws = ShuffleIterator::new(items, random, self.buffer());
        let draws: ItemStream = match &self.peers {
            None => Box::new(draws),
            Some(peers) => {
                // The samples that all processes skipped before are counted once.
                if peers.rank() != 0 {
                    position.skipped = SkippedSamples::default();
                }
                let owned = DrawOwnership {
                    rank: peers.rank(),
                    world_size: peers.world_size(),
                    batch_size: settings.batch_size,
                };
                Box::new(owned.select(draws))
            }
        };
        let (workers, prefetch) = (settings.workers, settings.prefetch_count());
        Ok(Epoch {
            pipeline: Pipeline::start(draws, position.drawn, preparer, workers, prefetch)?,
            preprocessing: settings.preprocessing.clone(),
            batch_size: settings.batch_size,
            batches: self.batches,
            allowance: self.skip_allowance(),
            position,
            passes: EmptyPassDetector::default(),
            failed: false,
            peers: self.peers.clone(),
        })
    }

    /// Returns the shuffle buffer; none for the rows of a table, which are shuffled already.
    fn buffer(&self) -> ShuffleBuffer {
        match (&self.source, self.settings.sampling) {
            (CaptionSource::Table(_), _) | (_, Sampling::InOrder) => ShuffleBuffer {
                samples: 0,
                bytes: 0,
            },
            (_, _) => self.settings.shuffle,
        }
    }

    fn skip_allowance(&self) -> SkipAllowance {
        match self.settings.max_skipped {
            SkipLimit::Count(count) => SkipAllowance::Count(count),
            SkipLimit::Fraction(fraction) => SkipAllowance::Fraction {
                fraction,
                samples: self.expected / self.settings.world_size as u64,
            },
            SkipLimit::Unlimited => SkipAllowance::Unlimited,
        }
    }
}

/// Checks that damaged shards lose no more samples than may be broken.
fn check_damage(report: &DamageReport, settings: &LoaderSettings) -> Result<(), TrainingDataError> {
    let limit = match settings.max_skipped {
        SkipLimit::Count(count) => count.saturating_mul(settings.world_size as u64),
        SkipLimit::Fraction(fraction) => (report.total as f64 * fraction) as u64,
        SkipLimit::Unlimited => return Ok(()),
    };
    match report.lost {
        Some(lost) if lost <= limit => Ok(()),
        _ => Err(damaged(report.clone(), Some(limit))),
    }
}

fn damaged(report: DamageReport, limit: Option<u64>) -> TrainingDataError {
    TrainingDataError::DamagedShards {
        limit,
        report: Box::new(report),
    }
}

/// Returns a hash of what determines the order of samples: names and sizes of the data, and settings.
fn fingerprint(source: &CaptionSource, settings: &LoaderSettings) -> String {
    let mut hash = StableHash::new();
    match source {
        CaptionSource::Shards(set) => {
            hash.text("shards");
            for shard in set.shards() {
                hash.text(&shard.name());
                hash.word(shard.samples.map_or(0, |samples| samples + 1));
            }
            hash.text(&format!("{:?}", set.fields()));
            hash.word(settings.shuffle.samples as u64);
            hash.word(settings.shuffle.bytes);
        }
        CaptionSource::Table(table) => {
            hash.text("table");
            hash.text(
                &table
                    .path()
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy(),
            );
            hash.word(table.len() as u64);
        }
        #[cfg(feature = "parquet")]
        CaptionSource::Parquet(files) => {
            hash.text("parquet");
            for (name, rows) in files.identity() {
                hash.text(&name);
                hash.word(rows);
            }
            hash.word(settings.shuffle.samples as u64);
            hash.word(settings.shuffle.bytes);
        }
    }
    for number in [settings.batch_size, settings.rank, settings.world_size] {
        hash.word(number as u64);
    }
    hash.word(settings.seed);
    hash.word(
        settings
            .train_num_samples
            .map_or(0, |samples| samples.saturating_add(1)),
    );
    hash.text(&format!("{:?} {:?}", settings.sampling, settings.rounding));
    format!("{:016x}", hash.finish())
}
