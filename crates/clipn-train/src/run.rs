use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::frozen::Frozen;
use super::texts::Texts;
use super::{
    AdamW, CheckpointStore, CpuImageTower, CpuTowers, DatasetKind, ImageInput, Label, MicroBatch,
    Published, Retention, STATE_FORMAT_VERSION, SingleProcess, Snapshot, StateError, StepReport,
    TextInput, TrainSettings, TrainableTowers, Trainer, TrainingCheckpoint, TrainingError,
    TrainingState,
};
use crate::training_log::{LogRecord, TrainingLog};
use clipn_base::progress::Progress;
use clipn_base::random::Xoshiro256;
use clipn_data::{
    CaptionLoader, CaptionSource, CaptionTable, Epoch, LoaderSettings, EpochPosition, Rounding,
    SampleFields, ShardSet, SkippedSamples, TrainBatch,
};
use clipn_engine::TextTransformer;
use clipn_image::Preprocessing;
use clipn_model::{ModelConfig, PretrainedWeights, TrainingVocabulary, TextTower, ModelWeights, WeightsMetadata};
use clipn_text::tokenizer::Tokenizer;

/// Starting point of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Starts at the first step.
    Fresh,
    /// Resumes from the newest checkpoint in the run's directory, or starts at the first step if
    /// there is none.
    Latest,
    /// Resumes from a checkpoint directory, or from a published `epoch_N.pt`.
    From(PathBuf),
}

/// A completed optimizer step, as reported to a [`RunObserver`].
#[derive(Debug, Clone)]
pub struct StepEvent<'a> {
    /// Steps completed so far, this one included.
    pub step: u64,
    /// Total steps of the run.
    pub steps: u64,
    /// Record written to the log.
    pub record: &'a LogRecord,
}

/// Callbacks of a run, all optional but [`Progress::is_cancelled`], which is checked before every
/// step.
pub trait RunObserver: Progress {
    /// Called before the first step of this start, when the run's size and trainable parameters are
    /// known.
    fn started(&self, _run: &TrainRun) {}
    /// Called after every step.
    fn step(&self, _event: &StepEvent<'_>) {}
    /// Called after a checkpoint was written, with its directory.
    fn saved(&self, _dir: &Path) {}
    /// Called after every epoch, with its number from 1 and the samples that it skipped.
    fn epoch_ended(&self, _run: &TrainRun, _epoch: u64, _skipped: &SkippedSamples) {}
}

/// Result of [`TrainRun::run`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// Whether the observer canceled the run before its last step.
    pub interrupted: bool,
    /// Steps completed in all, those before a resume included.
    pub step: u64,
    /// The newest checkpoint that this call wrote.
    pub checkpoint: Option<PathBuf>,
}

/// A training run: data, towers, optimizer, checkpoints and logs in one directory.
pub struct TrainRun {
    settings: TrainSettings,
    config: ModelConfig,
    dir: PathBuf,
    loader: CaptionLoader,
    trainer: Trainer<f32, CpuImageTower, TextTransformer, SingleProcess>,
    texts: Texts,
    frozen: Option<Frozen>,
    store: CheckpointStore,
    log: TrainingLog,
    step: u64,
    epoch: u64,
    position: Option<EpochPosition>,
    /// Metadata saved with the weights: templates, logit scale, and, if known, the words in the
    /// captions that the "yes" tower was trained on.
    notes: WeightsMetadata,
}

/// Initial state of a run: fresh, or restored from a checkpoint.
struct InitialState {
    towers: CpuTowers,
    notes: WeightsMetadata,
    optimizer: AdamW<f32>,
    step: u64,
    epoch: u64,
    position: Option<EpochPosition>,
}

impl TrainRun {
    /// Opens data, weights, checkpoints and logs of a run in the directory `dir`, and writes its
    /// `settings.toml`.
    ///
    /// # Errors
    /// [`TrainingError`] if settings, data, weights or a checkpoint cannot be used.
    pub fn open(
        settings: TrainSettings,
        dir: &Path,
        resume: &Resume,
        progress: &dyn Progress,
    ) -> Result<Self, TrainingError> {
        settings.check()?;
        if *resume == Resume::Fresh {
            settings.check_start()?;
        }
        let config = ModelConfig::resolve(&settings.model)?;
        if settings.objective.name == "clip" {
            CpuImageTower::check_trainable(&config)?;
        }
        let loader = open_data(&settings, &config, progress)?;
        if loader.batches_per_epoch() < settings.accum_freq as u64 {
            return Err(TrainingError::Setting {
                setting: "accum_freq",
                problem: format!(
                    "expected at most {}, the batches in an epoch, got {}",
                    loader.batches_per_epoch(),
                    settings.accum_freq
                ),
            });
        }
        let store = CheckpointStore::open(&dir.join("checkpoints"))?;
        let found = match resume {
            Resume::Fresh => None,
            Resume::Latest => store.latest()?.map(|saved| saved.path),
            Resume::From(path) => Some(path.clone()),
        };
        let start = match &found {
            None => fresh(&settings, &config)?,
            Some(path) if path.is_dir() => from_checkpoint(path, &settings, &config)?,
            Some(path) => from_published(path, &settings, &config, &loader)?,
        };
        let texts = Texts::of(&settings)?;
        let total = loader.batches_per_epoch() / settings.accum_freq as u64 * settings.epochs;
        settings.schedule(total).check()?;
        let objective = settings.objective.build::<f32>()?;
        let mut towers = start.towers;
        // Packing the weights does not pay off for a tower that encodes each image only once.
        if objective.uses_no() && !settings.cache_image_features {
            towers.image = towers.image.frozen();
        }
        let trainer = Trainer::new(
            towers,
            objective,
            settings.gradient_scaling,
            start.optimizer,
            SingleProcess,
        )?;
        let frozen = match trainer.learns() {
            TrainableTowers::Clip => None,
            TrainableTowers::No => {
                let cache = settings
                    .feature_cache
                    .clone()
                    .unwrap_or_else(|| dir.join("cache"));
                std::fs::create_dir_all(&cache).map_err(|source| super::FeatureCacheError::Io {
                    path: cache.clone(),
                    source,
                })?;
                let preprocessing = &loader.settings().preprocessing;
                // Cache keys hold the names of shards, which other data may use too.
                let of = format!(
                    "{preprocessing:?}{}",
                    match settings.feature_cache {
                        Some(_) => settings.data.train_data.as_str(),
                        None => "",
                    }
                );
                Some(Frozen::open(
                    &cache,
                    trainer.towers(),
                    &of,
                    settings.cache_image_features,
                )?)
            }
        };
        let loader = match frozen.as_ref().and_then(Frozen::known_pictures) {
            Some(known) => loader.with_cached_images(known),
            None => loader,
        };
        // An empty log belongs to a run that failed before its first step. A run killed before its
        // first checkpoint has a log but no checkpoint to resume from.
        let is_unused = std::fs::metadata(dir.join("log.jsonl")).is_ok_and(|file| file.len() == 0);
        let log = match resume {
            Resume::Fresh if !is_unused => TrainingLog::create(dir)?,
            _ => TrainingLog::resume(dir, start.step)?,
        };
        write_settings(&settings, dir)?;
        Ok(Self {
            settings,
            config,
            dir: dir.to_owned(),
            loader,
            trainer,
            texts,
            frozen,
            store,
            log,
            step: start.step,
            epoch: start.epoch,
            position: start.position,
            notes: start.notes,
        })
    }

    /// Returns the settings.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// Returns the model config.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the run's directory.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// Returns the towers with their current weights.
    pub fn towers(&self) -> &CpuTowers {
        self.trainer.towers()
    }

    /// Returns which parameters are trained.
    pub fn learns(&self) -> TrainableTowers {
        self.trainer.learns()
    }

    /// Returns the number of completed steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Returns the number of steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.loader.batches_per_epoch() / self.settings.accum_freq as u64
    }

    /// Returns the number of steps in the whole run.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch() * self.settings.epochs
    }

    /// Returns the number of samples in a step.
    pub fn samples_per_step(&self) -> u64 {
        (self.settings.batch_size * self.settings.accum_freq) as u64
    }

    /// Trains to the last step, or until the observer cancels, after which a checkpoint is written.
    ///
    /// # Errors
    /// [`TrainingError`] if too many samples are broken, a loss is not finite, or a checkpoint or
    /// log cannot be written. Checkpoints written earlier remain.
    pub fn run(&mut self, observer: &dyn RunObserver) -> Result<RunOutcome, TrainingError> {
        observer.started(self);
        let mut newest = None;
        while self.epoch < self.settings.epochs {
            let mut data = match self.position.take() {
                Some(position) => self.loader.resume(position)?,
                None => self.loader.epoch(self.epoch)?,
            };
            if !self.run_epoch(&mut data, observer, &mut newest)? {
                return Ok(RunOutcome {
                    interrupted: true,
                    step: self.step,
                    checkpoint: newest,
                });
            }
            self.epoch += 1;
            let due = self.epoch.is_multiple_of(self.settings.save_frequency)
                || self.epoch == self.settings.epochs;
            if due {
                newest = Some(self.save(Label::Epoch(self.epoch), None, observer)?);
            }
            observer.epoch_ended(self, self.epoch, data.skipped());
        }
        Ok(RunOutcome {
            interrupted: false,
            step: self.step,
            checkpoint: newest,
        })
    }

    /// Runs the rest of an epoch. Returns `false` if the observer canceled.
    fn run_epoch(
        &mut self,
        data: &mut Epoch,
        observer: &dyn RunObserver,
        newest: &mut Option<PathBuf>,
    ) -> Result<bool, TrainingError> {
        let end = (self.epoch + 1) * self.steps_per_epoch();
        let mut parts = vec![TrainBatch::default(); self.settings.accum_freq];
        let mut clock = Instant::now();
        while self.step < end {
            if observer.is_cancelled() {
                *newest = Some(self.save(
                    Label::Step(self.step),
                    Some(Epoch::position(data)),
                    observer,
                )?);
                return Ok(false);
            }
            for part in &mut parts {
                if !data.next_into(part)? {
                    return Ok(true);
                }
            }
            let lr = self
                .settings
                .schedule(self.steps())
                .learning_rate(self.step);
            let report = self.take_step(&parts, lr)?;
            self.step += 1;
            self.report_step(&report, lr, clock.elapsed().as_secs_f64(), observer)?;
            clock = Instant::now();
            if self
                .settings
                .save_every
                .is_some_and(|every| self.step.is_multiple_of(every))
                && self.step < end
            {
                *newest = Some(self.save(
                    Label::Step(self.step),
                    Some(Epoch::position(data)),
                    observer,
                )?);
            }
        }
        Ok(true)
    }

    fn take_step(&mut self, parts: &[TrainBatch], lr: f64) -> Result<StepReport, TrainingError> {
        let size = self.loader.settings().preprocessing.size;
        let mut inputs = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let towers = self.trainer.towers();
            let context = towers.yes.context_length();
            let key = [self.step, index as u64, 0];
            let drawn = self
                .texts
                .draw(&part.captions, context, self.settings.seed, key);
            let pixels = || ImageInput::Pixels {
                values: (&part.pixels[..]).into(),
                size,
            };
            let (images, yes) = match &mut self.frozen {
                Some(frozen) => {
                    let known = frozen.images(part, size, towers)?;
                    let yes = TextInput::Features(frozen.yes(&drawn.yes, towers)?);
                    (known.map_or_else(pixels, ImageInput::Features), yes)
                }
                None => {
                    let tokens = Tokenizer::clip().tokenize_batch(&drawn.yes, context);
                    self.notes
                        .training_vocabulary
                        .iter_mut()
                        .for_each(|words| words.read(&tokens));
                    (pixels(), TextInput::Tokens(tokens))
                }
            };
            inputs.push(MicroBatch {
                images,
                yes,
                no: drawn.no,
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
            .parts
            .iter()
            .map(|(name, loss)| ((*name).to_owned(), *loss));
        let record = LogRecord {
            step: self.step,
            epoch: self.epoch,
            samples: self.step * self.samples_per_step(),
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
        self.log.write(&record)?;
        observer.step(&StepEvent {
            step: self.step,
            steps: self.steps(),
            record: &record,
        });
        Ok(())
    }

    fn save(
        &mut self,
        label: Label,
        position: Option<&EpochPosition>,
        observer: &dyn RunObserver,
    ) -> Result<PathBuf, TrainingError> {
        // Write features first: a resumed run must find those that this one used.
        if let Some(frozen) = &mut self.frozen {
            frozen.flush()?;
        }
        let json = |what, value: Result<serde_json::Value, serde_json::Error>| {
            value.map_err(|source| TrainingError::Resume { what, source })
        };
        let state = TrainingState {
            format: STATE_FORMAT_VERSION,
            epoch: self.epoch,
            step: self.step,
            samples_seen: self.step * self.samples_per_step(),
            position: json("position", serde_json::to_value(position))?,
            rng: Xoshiro256::new(self.settings.seed),
            schedule: self.settings.schedule(self.steps()),
            optimizer: self.settings.optimizer,
            objective: self.settings.objective.clone(),
            model: json("model", serde_json::to_value(&self.config))?,
            settings: json("settings", serde_json::to_value(&self.settings))?,
            versions: BTreeMap::from([("clipn".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
            files: BTreeMap::new(),
        };
        let model = self.trainer.towers().tensors()?;
        let notes = self.notes.clone();
        let snapshot = Snapshot {
            state: &state,
            model,
            notes,
            optimizer: self.trainer.optimizer(),
        };
        let dir = self.store.save(label, snapshot)?;
        self.store.prune(Retention {
            last: self.settings.keep,
            every: None,
        })?;
        observer.saved(&dir);
        Ok(dir)
    }
}

fn open_data(
    settings: &TrainSettings,
    config: &ModelConfig,
    progress: &dyn Progress,
) -> Result<CaptionLoader, TrainingError> {
    let data = &settings.data;
    let source = match data.kind {
        DatasetKind::Webdataset => {
            let fields = SampleFields {
                captions: data.captions.clone(),
                ..SampleFields::default()
            };
            let mut shards = ShardSet::open(&data.train_data, fields)?;
            if shards.samples().is_none() && data.num_samples.is_none() {
                shards.count(progress)?;
            }
            CaptionSource::Shards(Arc::new(shards))
        }
        DatasetKind::Csv => CaptionTable::read(Path::new(&data.train_data), &data.table)?.into(),
    };
    let mut loader = LoaderSettings::new(config.vision.image_size, settings.batch_size);
    loader.preprocessing = Preprocessing::clip(config.vision.image_size);
    loader.augmentation = settings.augmentation;
    loader.seed = settings.seed;
    loader.workers = settings.workers;
    loader.sampling = data.sampling;
    loader.train_num_samples = data.num_samples;
    loader.rounding = Rounding::Floor;
    loader.max_skipped = data.max_bad;
    Ok(CaptionLoader::new(source, loader)?)
}

/// Returns the number of "no" prompts of the run's "no" tower; `None` for no "no" tower.
fn no_prompts(settings: &TrainSettings) -> Option<usize> {
    match settings.objective.name.as_str() {
        "clip" => None,
        "clipn-handcrafted" => Some(0),
        _ => Some(settings.no_prompts),
    }
}

fn fresh(settings: &TrainSettings, config: &ModelConfig) -> Result<InitialState, TrainingError> {
    settings.check_start()?;
    let (towers, notes) = match &settings.pretrained {
        None => {
            let notes = WeightsMetadata {
                training_vocabulary: Some(TrainingVocabulary::default()),
                ..WeightsMetadata::default()
            };
            (CpuTowers::fresh(config, settings.seed)?, notes)
        }
        Some(path) => {
            let pretrained = PretrainedWeights::open(path)?;
            let weights = ModelWeights::new(config.clone(), pretrained.checkpoint().clone())?;
            (
                CpuTowers::from_weights(&weights, no_prompts(settings))?,
                pretrained.metadata(),
            )
        }
    };
    let optimizer = AdamW::new(settings.optimizer)?;
    Ok(InitialState {
        towers,
        notes,
        optimizer,
        step: 0,
        epoch: 0,
        position: None,
    })
}

fn from_checkpoint(
    dir: &Path,
    settings: &TrainSettings,
    config: &ModelConfig,
) -> Result<InitialState, TrainingError> {
    let TrainingCheckpoint {
        state,
        model,
        optimizer,
    } = TrainingCheckpoint::<f32>::load(dir)?;
    if state.objective.name != settings.objective.name {
        return Err(TrainingError::Setting {
            setting: "objective",
            problem: format!(
                "expected `{}`, the objective of the checkpoint {}, got `{}`",
                state.objective.name,
                dir.display(),
                settings.objective.name
            ),
        });
    }
    let notes = WeightsMetadata::from_checkpoint(&model);
    let towers =
        CpuTowers::from_weights(&ModelWeights::new(config.clone(), model)?, no_prompts(settings))?;
    let position =
        serde_json::from_value(state.position).map_err(|source| TrainingError::Resume {
            what: "position",
            source,
        })?;
    Ok(InitialState {
        towers,
        notes,
        optimizer,
        step: state.step,
        epoch: state.epoch,
        position,
    })
}

/// Restores a checkpoint of the published training, which is written after whole epochs.
fn from_published(
    path: &Path,
    settings: &TrainSettings,
    config: &ModelConfig,
    loader: &CaptionLoader,
) -> Result<InitialState, TrainingError> {
    let published = Published::<f32>::open(path)?;
    let towers = CpuTowers::from_weights(
        &ModelWeights::new(config.clone(), published.model)?,
        no_prompts(settings),
    )?;
    let steps_per_epoch = loader.batches_per_epoch() / settings.accum_freq as u64;
    let (epoch, step) = (published.epoch, published.epoch * steps_per_epoch);
    let optimizer = published.optimizer;
    Ok(InitialState {
        towers,
        notes: WeightsMetadata::default(),
        optimizer,
        step,
        epoch,
        position: None,
    })
}

fn write_settings(settings: &TrainSettings, dir: &Path) -> Result<(), TrainingError> {
    let path = dir.join("settings.toml");
    let text = toml::to_string_pretty(settings).map_err(|e| TrainingError::Setting {
        setting: "settings.toml",
        problem: format!("cannot encode the settings: {e}"),
    })?;
    std::fs::write(&path, text)
        .map_err(|source| TrainingError::State(StateError::io("write", &path)(source)))
}
