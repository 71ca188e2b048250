//! A whole training run: data, towers, optimizer, checkpoints and logs in one directory.

mod builder;
mod differences;
mod feature_files;
mod finished;
mod frozen_features;
mod initial_state;
mod observer;
mod ranks;
mod saving;
mod settings;
mod text_sampler;
mod unseen_words;

pub use builder::{OpenLearner, RunBuilder, RunStart};
pub use observer::{RunObserver, RunOutcome, StepEvent};
pub use settings::{DataSettings, DatasetKind, TrainSettings};
pub use unseen_words::UnseenWords;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clipn_base::files::StateLock;
use clipn_data::{CaptionLoader, CaptionSource, Epoch, EpochPosition, TrainBatch};
use clipn_engine::TextTransformer;
use clipn_model::{LogitScale, ModelConfig, WeightsMetadata};
use clipn_text::tokenizer::Tokenizer;

use crate::communicator::{Collective, Communicator};
use crate::error::TrainingError;
use crate::run::finished::FinishedMark;
use crate::run::frozen_features::{CachedFeatures, FrozenFeatures, FrozenTowers};
use crate::run::ranks::Ranks;
use crate::run::text_sampler::TextSampler;
use crate::setting_difference::SettingDifference;
use crate::state::{CheckpointLabel, CheckpointStore};
use crate::towers::{CpuImageTower, CpuTowers, TrainableTowers};
use crate::trainer::{ImageInput, MicroBatch, StepReport, TextInput, Trainer};
use crate::training_log::{LogRecord, TrainingLog};

/// A training run: data, towers, optimizer, checkpoints and logs in one directory.
///
/// See the [crate page](crate) for an example.
pub struct TrainRun {
    /// Lock of the directory, which rank 0 holds.
    lock: Option<StateLock>,
    settings: TrainSettings,
    config: ModelConfig,
    dir: PathBuf,
    loader: CaptionLoader,
    trainer: Trainer<f32, CpuImageTower, TextTransformer, Ranks>,
    texts: TextSampler,
    frozen: Option<FrozenFeatures>,
    /// Newer checkpoints that cannot be used, on rank 0.
    damaged: Vec<PathBuf>,
    /// Checkpoints, which rank 0 writes.
    store: Option<CheckpointStore>,
    /// Log, which rank 0 writes.
    log: Option<TrainingLog>,
    step: u64,
    total_steps: u64,
    /// Steps and samples before the start of this process.
    before: Completed,
    epoch: u64,
    position: Option<EpochPosition>,
    /// Whether the run starts from a checkpoint that was named, and may repeat what follows it.
    is_repeated: bool,
    /// Captions of the current epoch, since the start of this process, that exceed the context length.
    truncated_captions: u64,
    /// Captions of the current epoch with words that the frozen "yes" tower was not trained on.
    unseen_words: UnseenWords,
    /// Metadata saved with the weights: templates, logit scale, and, if known, the words in the
    /// captions that the "yes" tower was trained on.
    notes: WeightsMetadata,
    changed_settings: Vec<SettingDifference>,
    changed_threads: Option<usize>,
    ranks: Ranks,
}

/// Work of earlier processes.
#[derive(Debug, Clone, Copy)]
struct Completed {
    steps: u64,
    samples: u64,
}

impl fmt::Debug for TrainRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainRun")
            .field("settings", &self.settings)
            .field("dir", &self.dir)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl TrainRun {
    /// Creates a builder of a run in the directory `dir`, which is created if missing.
    pub fn builder<'a>(settings: TrainSettings, dir: impl Into<PathBuf>) -> RunBuilder<'a> {
        RunBuilder::new(settings, dir.into())
    }

    /// Opens a run that starts at its first step. Same as [`builder`](Self::builder) with the
    /// defaults.
    ///
    /// # Errors
    /// Same as [`RunBuilder::open`].
    pub fn open(settings: TrainSettings, dir: impl Into<PathBuf>) -> Result<Self, TrainingError> {
        Self::builder(settings, dir).open()
    }

    /// File name, in a run's directory, of the mark that a run writes when it is finished. A run
    /// without it was cut short, whatever the exit code of a launcher was.
    pub const FINISHED_FILE: &'static str = finished::FINISHED_FILE;

    /// Returns the settings.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// Returns the settings that differ from those of the checkpoint that the run resumes from, which
    /// [`RunBuilder::with_changed_settings`] allows.
    pub fn changed_settings(&self) -> &[SettingDifference] {
        &self.changed_settings
    }

    /// Returns the number of computing threads that the checkpoint was trained with, if the run resumes
    /// with another: the last bits of the weights then differ from those of an uninterrupted run.
    pub fn changed_threads(&self) -> Option<usize> {
        self.changed_threads
    }

    /// Returns this rank's endpoint.
    pub fn communicator(&self) -> &Arc<dyn Communicator> {
        &self.ranks
    }

    /// Returns the training data.
    pub fn data(&self) -> &CaptionSource {
        self.loader.source()
    }

    /// Returns the model config.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the metadata that is saved with the weights, such as their templates.
    pub fn metadata(&self) -> &WeightsMetadata {
        &self.notes
    }

    /// Returns the factor of the logits with which the weights are evaluated: that of the metadata, as of weights in
    /// a file, else the published 100.
    pub fn evaluation_scale(&self) -> f64 {
        match self.notes.logit_scale {
            Some(LogitScale::Trained) => f64::from(self.towers().logit_scale).exp(),
            Some(LogitScale::Published) | None => 100.0,
        }
    }

    /// Returns the checkpoints in the directory that are newer than the start of the run, but damaged, and were not
    /// used for [`RunStart::Latest`].
    pub fn damaged_checkpoints(&self) -> &[PathBuf] {
        &self.damaged
    }

    /// Returns the run's directory.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Returns the name of the device that computes; `None` for the CPU.
    pub fn device(&self) -> Option<&str> {
        self.trainer.device()
    }

    /// Returns the towers of the host. On a device, the trained ones have the weights of the last
    /// checkpoint or end of an epoch.
    pub fn towers(&self) -> &CpuTowers {
        self.trainer.towers()
    }

    /// Returns which parameters are trained.
    pub fn trainable_towers(&self) -> TrainableTowers {
        self.trainer.trainable_towers()
    }

    /// Returns the number of captions of the current epoch that exceeded the context length, so that
    /// their ends were cut off; in a resumed epoch, those since it was resumed. At the end of an epoch,
    /// it counts those of all ranks, before those of this one. A caption is counted
    /// every time it is read.
    pub fn truncated_captions(&self) -> u64 {
        self.truncated_captions
    }

    /// Returns the captions of the current epoch with words that the frozen "yes" tower was not trained
    /// on, counted like [`truncated_captions`](Self::truncated_captions).
    pub fn unseen_words(&self) -> &UnseenWords {
        &self.unseen_words
    }

    /// Returns why other processes cannot be kept from writing to the run's directory or its feature
    /// caches, as on file systems without locks.
    pub fn lock_warnings(&self) -> Vec<String> {
        let own = self.lock.as_ref().and_then(StateLock::warning);
        let caches = self.frozen.as_ref().and_then(FrozenFeatures::lock_warning);
        own.map(str::to_owned).into_iter().chain(caches).collect()
    }

    /// Returns the number of cached features that were damaged, and are computed again.
    pub fn damaged_features(&self) -> usize {
        self.frozen.as_ref().map_or(0, FrozenFeatures::damaged)
    }

    /// Returns the number of completed steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Returns the number of steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.loader.batches_per_epoch() / self.settings.accum_freq as u64
    }

    /// Returns the number of steps in the whole run: those before this process, which may have had another number of
    /// samples, and those that are left.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// Returns the number of samples in a step, over all ranks.
    pub fn samples_per_step(&self) -> u64 {
        self.settings.samples_per_step() as u64
    }

    /// Returns the number of samples seen over all epochs and ranks.
    pub fn samples_seen(&self) -> u64 {
        self.before.samples + (self.step - self.before.steps) * self.samples_per_step()
    }

    /// Trains to the last step, or until the observer of any rank cancels, after which a checkpoint is
    /// written. A run that is trained to its end is marked as finished.
    ///
    /// Every rank calls its observer for each step and epoch, and rank 0 for each checkpoint.
    ///
    /// # Errors
    /// [`TrainingError`] if too many samples are broken, a loss is not finite, ranks differ, or a
    /// checkpoint or log cannot be written. Checkpoints written earlier remain.
    pub fn run(&mut self, observer: &dyn RunObserver) -> Result<RunOutcome, TrainingError> {
        observer.started(self);
        if self.ranks.rank() == 0 {
            if self.step < self.total_steps() || self.is_repeated {
                FinishedMark::remove(&self.dir)?;
            }
            // Otherwise they would be the newest ones, and this run's the first to be removed.
            if let Some(store) = self.store.as_ref().filter(|_| self.is_repeated) {
                let later = store.set_aside_after(self.step)?;
                if !later.is_empty() {
                    observer.set_aside(&later);
                }
            }
        }
        self.ranks.barrier()?;
        let mut newest = None;
        while self.epoch < self.settings.epochs {
            self.truncated_captions = 0;
            self.unseen_words = UnseenWords::default();
            let mut data = match self.position.take() {
                Some(position) => self.loader.resume(position)?,
                None => self.loader.epoch(self.epoch)?,
            };
            if !self.run_epoch(&mut data, observer, &mut newest)? {
                return self.outcome(true, newest, observer);
            }
            self.epoch += 1;
            let due = self.epoch.is_multiple_of(self.settings.save_frequency)
                || self.epoch == self.settings.epochs;
            if due {
                newest = Some(self.save(CheckpointLabel::Epoch(self.epoch), None, observer)?);
            }
            let skipped = data.shared_position()?.skipped;
            self.end_epoch()?;
            // The observer may evaluate the towers of the host.
            self.trainer.synchronize()?;
            observer.epoch_ended(self, self.epoch, &skipped);
        }
        let outcome = self.outcome(false, newest, observer)?;
        if self.ranks.rank() == 0 {
            let name = outcome.checkpoint.file_name().unwrap_or_default();
            let mark = FinishedMark {
                step: self.step,
                checkpoint: name.to_string_lossy().into_owned(),
                processes: self.ranks.world_size(),
            };
            mark.write(&self.dir)?;
        }
        self.ranks.barrier()?;
        Ok(outcome)
    }

    /// Counts what all ranks cut, and makes the features that each has computed known to all.
    fn end_epoch(&mut self) -> Result<(), TrainingError> {
        if self.ranks.world_size() == 1 {
            return Ok(());
        }
        let unseen = self.unseen_words.captions();
        let mut counts = [self.truncated_captions as f64, unseen as f64];
        self.ranks.all_reduce_sum(&mut counts)?;
        self.truncated_captions = counts[0] as u64;
        self.unseen_words.set_captions(counts[1] as u64);
        if let Some(frozen) = &mut self.frozen {
            frozen.flush()?;
            self.ranks.barrier()?;
            frozen.refresh()?;
        }
        Ok(())
    }

    /// Returns whether the observer of any rank canceled.
    fn is_canceled(&self, observer: &dyn RunObserver) -> Result<bool, TrainingError> {
        let own = observer.is_cancelled();
        if self.ranks.world_size() == 1 {
            return Ok(own);
        }
        let all = self.ranks.all_gather_bytes(&[u8::from(own)])?;
        Ok(all.iter().any(|canceled| canceled != &[0]))
    }

    /// Runs the rest of an epoch. Returns `false` if the observer canceled.
    fn run_epoch(
        &mut self,
        data: &mut Epoch,
        observer: &dyn RunObserver,
        newest: &mut Option<PathBuf>,
    ) -> Result<bool, TrainingError> {
        let end = self.step + steps_left(data.batches(), Epoch::position(data), &self.settings);
        let mut micro_batches = vec![TrainBatch::default(); self.settings.accum_freq];
        let mut clock = Instant::now();
        while self.step < end {
            if self.is_canceled(observer)? {
                *newest =
                    Some(self.save(CheckpointLabel::Step(self.step), Some(data), observer)?);
                return Ok(false);
            }
            for batch in &mut micro_batches {
                if !data.next_into(batch)? {
                    return Ok(true);
                }
            }
            let lr = self
                .settings
                .schedule(self.total_steps())
                .learning_rate(self.step);
            let report = self.take_step(&micro_batches, lr)?;
            self.step += 1;
            self.report_step(&report, lr, clock.elapsed().as_secs_f64(), observer)?;
            if self
                .settings
                .save_every
                .is_some_and(|every| self.step.is_multiple_of(every))
                && self.step < end
            {
                *newest =
                    Some(self.save(CheckpointLabel::Step(self.step), Some(data), observer)?);
            }
            // After the checkpoint: a step does not include writing it.
            clock = Instant::now();
        }
        Ok(true)
    }

    fn take_step(
        &mut self,
        micro_batches: &[TrainBatch],
        lr: f64,
    ) -> Result<StepReport, TrainingError> {
        let size = self.loader.settings().preprocessing.size;
        let mut inputs = Vec::with_capacity(micro_batches.len());
        for (index, batch) in micro_batches.iter().enumerate() {
            let towers = FrozenTowers {
                image: self.trainer.image(),
                yes: self.trainer.yes(),
                host: self.trainer.towers(),
            };
            let context = towers.yes.context_length();
            let key = [self.step, index as u64];
            let sampled = self.texts.sample(batch, context, self.settings.seed, key);
            let mut truncated = sampled.truncated;
            let (cached, yes) = match &mut self.frozen {
                Some(frozen) => {
                    if let Some(vocabulary) = &self.notes.training_vocabulary {
                        self.unseen_words.count(&sampled.yes, vocabulary);
                    }
                    let cached = frozen.images(batch, size, towers)?;
                    let yes = TextInput::Features(frozen.yes(&sampled.yes, towers)?);
                    (cached, yes)
                }
                None => {
                    let tokenizer = Tokenizer::clip();
                    let (tokens, cut) = tokenizer.tokenize_batch_counted(&sampled.yes, context);
                    truncated = truncated.max(cut);
                    self.notes
                        .training_vocabulary
                        .iter_mut()
                        .for_each(|words| words.extend(&tokens));
                    (None, TextInput::Tokens(tokens))
                }
            };
            let (images, outliers) = match cached {
                Some(CachedFeatures { images, outliers }) => (
                    ImageInput::Features(images),
                    outliers.map(ImageInput::Features),
                ),
                None => (
                    pixels(&batch.pixels, size),
                    (!batch.outliers.is_empty()).then(|| pixels(&batch.outliers, size)),
                ),
            };
            self.truncated_captions += truncated as u64;
            inputs.push(MicroBatch {
                images,
                yes,
                no: sampled.no,
                outliers,
            });
        }
        self.trainer.step(&inputs, lr)
    }

    fn report_step(
        &mut self,
        report: &StepReport,
        lr: f64,
        seconds: f64,
        observer: &dyn RunObserver,
    ) -> Result<(), TrainingError> {
        let losses = report
            .terms
            .iter()
            .map(|(name, loss)| ((*name).to_owned(), *loss));
        let record = LogRecord {
            step: self.step,
            epoch: self.epoch,
            samples: self.samples_seen(),
            losses: [("total".to_owned(), report.total)]
                .into_iter()
                .chain(losses)
                .collect(),
            lr,
            samples_per_second: self.samples_per_step() as f64 / seconds.max(1e-9),
            seconds,
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
        };
        if let Some(log) = &mut self.log {
            log.write(&record)?;
        }
        observer.step(&StepEvent {
            step: self.step,
            total_steps: self.total_steps(),
            record: &record,
        });
        Ok(())
    }
}

/// Returns the number of steps that are left in an epoch of `batches` batches.
fn steps_left(batches: u64, position: &EpochPosition, settings: &TrainSettings) -> u64 {
    batches.saturating_sub(position.batches) / settings.accum_freq as u64
}

fn pixels(values: &[f32], size: usize) -> ImageInput<'_, f32> {
    ImageInput::Pixels {
        values: values.into(),
        size,
    }
}
