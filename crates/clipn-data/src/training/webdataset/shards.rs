//! Sets of shards and their sizes.
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use clipn_base::count::count;
use clipn_base::progress::{NoProgress, Progress};
use rayon::prelude::*;

use crate::archive::{EndsCheck, catch_panic, check_ends};
use crate::error::{DatasetError, first_few};
use crate::training::error::TrainingDataError;
use crate::training::webdataset::damage::{DamageReport, ShardDamage};
use crate::training::webdataset::fields::SampleFields;
use crate::training::webdataset::samples::SampleReader;
use crate::training::webdataset::sizes::{sizes_from_json, total_from_len};
use crate::training::webdataset::spec::{expand_shards, names};

/// An archive of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// Path of the file.
    pub path: PathBuf,
    /// Number of samples, if known: from `sizes.json`, or else counted, in a damaged shard up to the
    /// damage.
    pub samples: Option<u64>,
    /// Damage, as far as it is known; see [`ShardSet::open`].
    pub damage: Option<ShardDamage>,
    /// Whether `samples` was counted.
    is_counted: bool,
}

impl Shard {
    /// Looks at the first and last bytes, and reads a shard that seems to break off.
    fn open(path: PathBuf, samples: Option<u64>) -> Self {
        let mut shard = Self {
            path,
            samples,
            damage: None,
            is_counted: false,
        };
        let checked = catch_panic(|| Some(check_ends(&shard.path)));
        let problem = match checked {
            Some(Ok(EndsCheck::Whole)) | None => return shard,
            Some(Ok(EndsCheck::Doubtful)) => {
                let (readable, damage) = shard.read_to_end();
                let is_short = shard.samples.filter(|&samples| samples > readable);
                shard.damage = damage.or(is_short.map(|samples| ShardDamage {
                    problem: format!("ends after {readable} of {}", count(samples, "sample")),
                    readable,
                }));
                return shard;
            }
            Some(Ok(EndsCheck::NotAnArchive(found))) => format!("is {found}"),
            Some(Err(error)) => format!("cannot be read ({error})"),
        };
        shard.damage = Some(ShardDamage {
            problem,
            readable: 0,
        });
        shard
    }

    /// Returns the file name, for messages and keys.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Returns the number of samples that the shard should have: its size, or that of its
    /// neighbors, `mean`.
    pub(crate) fn expected(&self, mean: Option<u64>) -> Option<u64> {
        match &self.damage {
            None => self.samples.or(mean),
            Some(damage) => Some(damage.readable.saturating_add(self.lost(mean))),
        }
    }

    /// Returns the number of samples, if it is that of the whole shard.
    pub(crate) fn exact_samples(&self) -> Option<u64> {
        self.samples
            .filter(|_| self.damage.is_none() || !self.is_counted)
    }

    /// Returns the number of samples after the damage, at least one; 0 without damage.
    fn lost(&self, mean: Option<u64>) -> u64 {
        let Some(damage) = &self.damage else {
            return 0;
        };
        let whole = self.exact_samples().or(mean).unwrap_or(0);
        whole.saturating_sub(damage.readable).max(1)
    }

    /// Counts the samples. Those of a damaged shard were counted when it was opened.
    fn count_samples(&mut self) {
        let counted = match &self.damage {
            Some(damage) => damage.readable,
            None => {
                let (count, damage) = self.read_to_end();
                self.damage = damage;
                count
            }
        };
        self.samples = Some(counted);
        self.is_counted = true;
    }

    /// Counts the samples, as far as the shard can be read.
    fn read_to_end(&self) -> (u64, Option<ShardDamage>) {
        let mut samples = 0;
        let damage = |readable, error: &std::io::Error| {
            Some(ShardDamage {
                problem: match readable {
                    0 => format!("cannot be read ({error})"),
                    _ => format!("breaks off after {} ({error})", count(readable, "sample")),
                },
                readable,
            })
        };
        let mut groups = match SampleReader::open(&self.path) {
            Ok(groups) => groups,
            Err(error) => return (0, damage(0, &error)),
        };
        loop {
            match catch_panic(|| groups.next(None)) {
                Some(Ok(_)) => samples += 1,
                Some(Err(error)) => return (samples, damage(samples, &error)),
                None => return (samples, None),
            }
        }
    }
}

/// Shards in a fixed order, and the selection of files in their samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSet {
    shards: Vec<Shard>,
    total: Option<u64>,
    fields: SampleFields,
}

impl ShardSet {
    /// Finds the shards of `spec` ([`expand_shards`]) and their sizes: from `sizes.json` in their
    /// directories, or the total from `__len__`.
    ///
    /// The first and last bytes of every shard are read; one that seems to break off is read to the
    /// end. A shard that cannot be read is no error: it has [`Shard::damage`], and
    /// [`damage`](Self::damage) sums up what is lost. Damage in the middle of a shard is found when
    /// its samples are counted or read.
    ///
    /// # Errors
    /// The errors of [`expand_shards`], [`TrainingDataError::ShardSizes`] if a file of sizes is invalid,
    /// [`TrainingDataError::File`] if a shard is not a regular file, [`TrainingDataError::Setting`]
    /// if `fields` has no image or no caption.
    pub fn open(spec: &str, fields: SampleFields) -> Result<Self, TrainingDataError> {
        let paths = expand_shards(spec)?;
        if let Some(path) = paths.iter().find(|path| !path.is_file()) {
            let source = std::io::Error::other("not a regular file");
            return Err(DatasetError::Io {
                path: path.clone(),
                source,
            }
            .into());
        }
        if fields.images.is_empty() || fields.captions.is_empty() {
            let setting = if fields.images.is_empty() {
                "images"
            } else {
                "captions"
            };
            let problem = format!("no extensions for the samples of {}", names(&paths));
            return Err(TrainingDataError::Setting { setting, problem });
        }
        let sizes = sizes_from_json(&paths)?;
        let total = if sizes.iter().all(Option::is_none) {
            total_from_len(&paths)?
        } else {
            None
        };
        let shards = paths
            .into_par_iter()
            .zip(sizes)
            .map(|(path, samples)| Shard::open(path, samples))
            .collect();
        Ok(Self {
            shards,
            total,
            fields,
        })
    }

    /// Returns the shards, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Returns the selection of files in the samples.
    pub fn fields(&self) -> &SampleFields {
        &self.fields
    }

    /// Returns the total number of samples, if known.
    pub fn samples(&self) -> Option<u64> {
        let sum = self
            .shards
            .iter()
            .try_fold(0u64, |sum, shard| sum.checked_add(shard.samples?));
        sum.or(self.total)
    }

    /// Returns what is damaged and lost, as far as it is known; `None` if nothing is. A damaged shard
    /// without a size counts as much as the others have on average, or as `train_num_samples` says,
    /// the number of samples of the whole set.
    pub fn damage(&self, train_num_samples: Option<u64>) -> Option<DamageReport> {
        let damaged: Vec<&Shard> = self
            .shards
            .iter()
            .filter(|shard| shard.damage.is_some())
            .collect();
        if damaged.is_empty() {
            return None;
        }
        let mean = self.mean_samples(train_num_samples);
        let is_estimated = damaged.iter().any(|shard| shard.exact_samples().is_none());
        let sum = |counts: &mut dyn Iterator<Item = u64>| {
            counts.fold(0u64, |sum, count| sum.saturating_add(count))
        };
        let lost = sum(&mut damaged.iter().map(|shard| shard.lost(mean)));
        let total = sum(&mut self
            .shards
            .iter()
            .map(|shard| shard.expected(mean).unwrap_or(0)));
        let problem = |shard: &&Shard| {
            let problem = shard.damage.as_ref().map(|damage| damage.problem.clone());
            (shard.name(), problem.unwrap_or_default())
        };
        Some(DamageReport {
            shards: self.shards.len(),
            damaged: damaged.iter().map(problem).collect(),
            lost: (mean.is_some() || !is_estimated).then_some(lost),
            total,
            is_estimated,
        })
    }

    /// Returns the mean number of samples of the readable shards of known size, rounded up, or else
    /// that of all shards by the total.
    pub(crate) fn mean_samples(&self, train_num_samples: Option<u64>) -> Option<u64> {
        let known: Vec<u64> = self
            .shards
            .iter()
            .filter_map(Shard::exact_samples)
            .collect();
        if known.is_empty() {
            let total = train_num_samples.or(self.total)?;
            return Some(total.div_ceil(self.shards.len() as u64));
        }
        let sum: u128 = known.iter().map(|&samples| u128::from(samples)).sum();
        Some(sum.div_ceil(known.len() as u128) as u64)
    }

    /// Reads every shard of unknown size and counts its samples, in a damaged one as far as it can
    /// be read. Returns the total.
    pub fn count_samples(&mut self) -> u64 {
        self.count_unknown(&NoProgress);
        self.samples().unwrap_or(0)
    }

    /// Same as [`count_samples`](Self::count_samples), with reports to `progress`.
    ///
    /// # Errors
    /// [`TrainingDataError::Cancelled`] if `progress` is canceled.
    pub fn count_samples_with_progress(
        &mut self,
        progress: &dyn Progress,
    ) -> Result<u64, TrainingDataError> {
        if self.count_unknown(progress) {
            Ok(self.samples().unwrap_or(0))
        } else {
            Err(TrainingDataError::Cancelled)
        }
    }

    /// Returns whether all shards were counted, `false` if `progress` was canceled.
    fn count_unknown(&mut self, progress: &dyn Progress) -> bool {
        let unknown: Vec<&mut Shard> = self
            .shards
            .iter_mut()
            .filter(|shard| shard.samples.is_none())
            .collect();
        progress.begin("counting samples", unknown.len() as u64);
        let is_complete = AtomicBool::new(true);
        unknown.into_par_iter().for_each(|shard| {
            if progress.is_cancelled() {
                is_complete.store(false, Ordering::Relaxed);
                return;
            }
            shard.count_samples();
            progress.advance(1);
        });
        progress.end();
        is_complete.into_inner()
    }

    /// Returns the error that names the shards of unknown size.
    pub(crate) fn unknown_size_error(&self) -> TrainingDataError {
        let mut unknown = self.shards.iter().filter(|shard| shard.samples.is_none());
        let first = unknown
            .next()
            .map(|shard| shard.path.clone())
            .unwrap_or_default();
        TrainingDataError::UnknownSize {
            shards: 1 + unknown.count(),
            first,
        }
    }
}

impl std::fmt::Display for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = first_few(self.shards.iter().map(Shard::name)).join(", ");
        write!(
            f,
            "{} ({first}{})",
            count(self.shards.len(), "shard"),
            if self.shards.len() > 3 { ", …" } else { "" }
        )
    }
}
