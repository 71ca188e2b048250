use std::sync::Arc;

use super::epoch::{Epoch, Passes, Position};
use super::error::TrainingDataError;
use super::pipeline::Pipeline;
use super::prepare::{KnownPictures, Preparation};
use super::settings::{LoaderSettings, MaxBad, Rounding, Sampling, ShuffleBuffer};
use super::shuffle::Shuffled;
use super::skipped::Skipped;
use crate::captions::CaptionTable;
use clipn_base::random::RandomSource;
use crate::random::{Fingerprint, KeyedRandom, Purpose};
use crate::webdataset::ShardSet;

/// Images with captions.
#[derive(Debug, Clone)]
pub enum CaptionSource {
    /// WebDataset shards.
    Shards(Arc<ShardSet>),
    /// A CSV or TSV file.
    Table(Arc<CaptionTable>),
}

impl CaptionSource {
    /// Number of samples, where it is known.
    pub fn samples(&self) -> Option<u64> {
        match self {
            Self::Shards(set) => set.samples(),
            Self::Table(table) => Some(table.len() as u64),
        }
    }
}

impl From<ShardSet> for CaptionSource {
    fn from(set: ShardSet) -> Self {
        Self::Shards(Arc::new(set))
    }
}

impl From<CaptionTable> for CaptionSource {
    fn from(table: CaptionTable) -> Self {
        Self::Table(Arc::new(table))
    }
}

/// Reads training data, epoch by epoch.
#[derive(Debug, Clone)]
pub struct CaptionLoader {
    source: CaptionSource,
    settings: LoaderSettings,
    batches: u64,
    fingerprint: String,
    known: Option<Arc<dyn KnownPictures>>,
}

impl CaptionLoader {
    /// Checks that the data and the settings make at least one batch on every process. No image is read.
    ///
    /// # Errors
    /// [`TrainingDataError::Setting`] and [`TrainingDataError::Image`] for a setting that cannot be used,
    /// [`TrainingDataError::UnknownSize`], [`TrainingDataError::TooFewShards`] and
    /// [`TrainingDataError::TooFewSamples`].
    pub fn new(source: CaptionSource, settings: LoaderSettings) -> Result<Self, TrainingDataError> {
        settings.check()?;
        let world_size = settings.world_size;
        if let CaptionSource::Shards(set) = &source {
            let shards = set.shards().len();
            let cut = set.shards().iter().all(|shard| shard.samples.is_some());
            if !cut && shards < world_size && settings.sampling != Sampling::WithReplacement {
                return Err(TrainingDataError::TooFewShards { shards, world_size });
            }
        }
        let samples = match (settings.train_num_samples.or(source.samples()), &source) {
            (Some(samples), _) => samples,
            (None, CaptionSource::Shards(set)) => return Err(set.unknown_size()),
            (None, CaptionSource::Table(table)) => table.len() as u64,
        };
        let together = (settings.batch_size as u64).saturating_mul(world_size as u64);
        let batches = match settings.rounding {
            Rounding::Floor => samples / together,
            Rounding::Ceil => samples.div_ceil(together),
        };
        if batches == 0 {
            let batch_size = settings.batch_size;
            return Err(TrainingDataError::TooFewSamples {
                samples,
                batch_size,
                world_size,
            });
        }
        let fingerprint = fingerprint(&source, &settings);
        Ok(Self {
            source,
            settings,
            batches,
            fingerprint,
            known: None,
        })
    }

    /// The same loader, which does not decode the pictures that `known` has, nor read those of a table: their samples
    /// come in their turn without pixels. A sample whose picture has been damaged since is delivered where it is known.
    pub fn with_known_pictures(self, known: Arc<dyn KnownPictures>) -> Self {
        Self {
            known: Some(known),
            ..self
        }
    }

    /// The data.
    pub fn source(&self) -> &CaptionSource {
        &self.source
    }

    /// How they are read.
    pub fn settings(&self) -> &LoaderSettings {
        &self.settings
    }

    /// Batches of an epoch, the same number on every process, whatever is broken in the data.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches
    }

    /// Samples that all processes train on in an epoch: batches · N · processes.
    pub fn samples_per_epoch(&self) -> u64 {
        self.batches * self.settings.batch_size as u64 * self.settings.world_size as u64
    }

    /// An epoch from its first batch.
    ///
    /// # Errors
    /// [`TrainingDataError::Thread`] when the system gives no thread.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch, TrainingDataError> {
        let (skipped, fingerprint) = (Skipped::default(), self.fingerprint.clone());
        self.start(Position {
            epoch,
            batches: 0,
            drawn: 0,
            skipped,
            fingerprint,
        })
    }

    /// An epoch from a position that [`Epoch::position`] gave: its batches are those that would have followed. The data
    /// before it are read again (shards) or passed over (tables), but no image is decoded.
    ///
    /// # Errors
    /// [`TrainingDataError::Position`] when it was taken with other data or settings; those of
    /// [`CaptionLoader::epoch`].
    pub fn resume(&self, position: Position) -> Result<Epoch, TrainingDataError> {
        if position.fingerprint != self.fingerprint || position.batches > self.batches {
            return Err(TrainingDataError::Position {
                epoch: position.epoch,
                batch: position.batches,
            });
        }
        self.start(position)
    }

    fn start(&self, position: Position) -> Result<Epoch, TrainingDataError> {
        let settings = &self.settings;
        let epoch = position.epoch;
        let preparation = Preparation {
            preprocessing: settings.preprocessing.clone(),
            augmentation: settings.augmentation,
            seed: settings.seed,
            epoch,
            known: self.known.clone(),
        };
        let items = self.source.items(settings, epoch);
        let random = KeyedRandom::keyed(Purpose::Buffer, &[settings.seed, epoch, settings.rank as u64]);
        let draws = Box::new(Shuffled::new(items, random, self.buffer()));
        let (workers, ahead) = (settings.workers, settings.ahead());
        Ok(Epoch {
            pipeline: Pipeline::start(draws, position.drawn, preparation, workers, ahead)?,
            preprocessing: settings.preprocessing.clone(),
            batch_size: settings.batch_size,
            batches: self.batches,
            max_bad: self.max_bad(),
            position,
            passes: Passes::default(),
            failed: false,
        })
    }

    /// Rows of a table are in random order already.
    fn buffer(&self) -> ShuffleBuffer {
        match (&self.source, self.settings.sampling) {
            (CaptionSource::Table(_), _) | (_, Sampling::InOrder) => ShuffleBuffer {
                samples: 0,
                bytes: 0,
            },
            (CaptionSource::Shards(_), _) => self.settings.shuffle,
        }
    }

    fn max_bad(&self) -> Option<u64> {
        let samples = self.batches * self.settings.batch_size as u64;
        match self.settings.max_bad {
            MaxBad::Count(count) => Some(count),
            MaxBad::Share(share) => Some((samples as f64 * share) as u64),
            MaxBad::Unlimited => None,
        }
    }
}

/// Everything that the order of samples depends on.
fn fingerprint(source: &CaptionSource, settings: &LoaderSettings) -> String {
    let mut print = Fingerprint::new();
    match source {
        CaptionSource::Shards(set) => {
            print.text("shards");
            for shard in set.shards() {
                print.text(&shard.name());
                print.word(shard.samples.map_or(0, |samples| samples + 1));
            }
            print.text(&format!("{:?}", set.fields()));
            print.word(settings.shuffle.samples as u64);
            print.word(settings.shuffle.bytes);
        }
        CaptionSource::Table(table) => {
            print.text("table");
            print.text(
                &table
                    .path()
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy(),
            );
            print.word(table.len() as u64);
        }
    }
    for number in [settings.batch_size, settings.rank, settings.world_size] {
        print.word(number as u64);
    }
    print.word(settings.seed);
    print.word(
        settings
            .train_num_samples
            .map_or(0, |samples| samples.saturating_add(1)),
    );
    print.text(&format!("{:?} {:?}", settings.sampling, settings.rounding));
    format!("{:016x}", print.finish())
}
