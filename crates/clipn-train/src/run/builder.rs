use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn_base::files::{self, StateLock};
use clipn_base::progress::{NoProgress, Progress};
use clipn_data::{
    CaptionLoader, CaptionSource, CaptionTable, LoaderSettings, Rounding, SampleFields, ShardSet,
};
use clipn_image::Preprocessing;
use clipn_model::{ModelConfig, Precision};

use crate::communicator::{Communicator, SingleProcess};
use crate::error::TrainingError;
use crate::learner::Learner;
use crate::objective::ObjectiveName;
use crate::run::finished::FinishedMark;
use crate::run::frozen_features::{CacheImages, FrozenFeatures, image_identity};
use crate::run::initial_state::InitialState;
use crate::run::ranks::{LoaderPeers, Ranks, check_same_digest, check_same_setup};
use crate::run::settings::{DatasetKind, TrainSettings};
use crate::run::text_sampler::TextSampler;
use crate::run::{Completed, TrainRun, UnseenWords, steps_left};
use crate::state::{CheckpointStore, SavedCheckpoint, StateError};
use crate::towers::{CpuImageTower, CpuTowers, TrainableTowers};
use crate::trainer::Trainer;
use crate::training_log::TrainingLog;

/// Starting point of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RunStart {
    /// Starts at the first step.
    #[default]
    Fresh,
    /// Resumes from the newest checkpoint in the run's directory, or starts at the first step if
    /// there is none.
    Latest,
    /// Resumes from a checkpoint directory, or from a published `epoch_N.pt`.
    From(PathBuf),
}

/// Makes the learner of a run from the config, the towers that it starts with, and which of them it
/// trains.
pub type OpenLearner<'a> = dyn Fn(&ModelConfig, &CpuTowers, TrainableTowers) -> Result<Box<dyn Learner<f32>>, TrainingError>
    + 'a;

/// Builder of a [`TrainRun`].
///
/// ```no_run
/// use clipn_train::{RunStart, TrainRun, TrainSettings};
///
/// let settings = TrainSettings::load("runs/clipn/settings.toml")?;
/// let run = TrainRun::builder(settings, "runs/clipn")
///     .with_start(RunStart::Latest)
///     .open()?;
/// println!("resumes after {} of {} steps", run.step(), run.total_steps());
/// # Ok::<(), clipn_train::TrainingError>(())
/// ```
#[must_use]
pub struct RunBuilder<'a> {
    settings: TrainSettings,
    dir: PathBuf,
    start: RunStart,
    allows_changes: bool,
    progress: &'a dyn Progress,
    ranks: Ranks,
    learner: Option<&'a OpenLearner<'a>>,
}

impl fmt::Debug for RunBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunBuilder")
            .field("settings", &self.settings)
            .field("dir", &self.dir)
            .field("start", &self.start)
            .field("allows_changes", &self.allows_changes)
            .field("rank", &self.ranks.rank())
            .field("world_size", &self.ranks.world_size())
            .finish_non_exhaustive()
    }
}

impl<'a> RunBuilder<'a> {
    /// Creates a builder of a fresh run in the directory `dir`.
    pub(crate) fn new(settings: TrainSettings, dir: PathBuf) -> Self {
        Self {
            settings,
            dir,
            start: RunStart::Fresh,
            allows_changes: false,
            progress: &NoProgress,
            ranks: Arc::new(SingleProcess),
            learner: None,
        }
    }

    /// Sets the starting point; [`RunStart::Fresh`] by default.
    pub fn with_start(mut self, start: RunStart) -> Self {
        self.start = start;
        self
    }

    /// Sets whether the run may resume from a checkpoint that was trained with other settings, such as
    /// another learning rate [default: false].
    pub fn with_changed_settings(mut self, allowed: bool) -> Self {
        self.allows_changes = allowed;
        self
    }

    /// Sets the observer of opening the data: shards without known sizes are counted.
    pub fn with_progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Sets this rank's endpoint in a run of several processes; a single process by default.
    ///
    /// All ranks open the run with the same settings. Rank 0 writes settings, logs and checkpoints in
    /// the run's directory, which the other ranks read; every rank writes feature caches of its own.
    pub fn with_communicator(mut self, ranks: Arc<dyn Communicator>) -> Self {
        self.ranks = ranks;
        self
    }

    /// Trains on a device: `open` makes the learner, such as a
    /// [`DeviceLearner`](crate::DeviceLearner), from the towers that the run starts with. The checkpoints
    /// are the same on every device. `precision` is that of the device; a run continues in another one
    /// only [with changed settings](Self::with_changed_settings).
    pub fn with_learner(mut self, precision: Precision, open: &'a OpenLearner<'a>) -> Self {
        self.settings.precision = precision;
        self.learner = Some(open);
        self
    }

    /// Opens data, weights, checkpoints and logs of the run, and writes its `settings.toml`.
    ///
    /// # Errors
    /// [`TrainingError`] if settings, data, weights or a checkpoint cannot be used;
    /// [`TrainingError::SettingsMismatch`] if a checkpoint was trained with other settings;
    /// [`TrainingError::Locked`] if another process trains in the directory;
    /// [`TrainingError::RanksDiffer`] if ranks have other settings, data, weights or programs than rank 0.
    pub fn open(self) -> Result<TrainRun, TrainingError> {
        let Self {
            mut settings,
            dir,
            start,
            allows_changes,
            progress,
            ranks,
            learner,
        } = self;
        settings.processes = ranks.world_size();
        if learner.is_none() {
            settings.precision = Precision::F32;
        }
        settings.check()?;
        if start == RunStart::Fresh {
            settings.check_start()?;
        }
        check_same_setup(&*ranks, &settings)?;
        let lock = RunLock::acquire(&dir, &ranks)?;
        settings.threads = rayon::current_num_threads();
        let config = ModelConfig::resolve(&settings.model)?;
        if settings.objective.name == ObjectiveName::Clip {
            CpuImageTower::check_trainable(&config)?;
        }
        let loader = open_data(&settings, &config, progress, &ranks)?;
        if ranks.world_size() > 1 {
            check_same_digest(&*ranks, "training data", loader.source().checksum())?;
        }
        let steps_per_epoch = steps_per_epoch(&settings, &loader)?;
        let Checkpoints {
            store,
            start: checkpoint,
            damaged,
        } = open_checkpoints(&dir, &start, &ranks)?;
        let state = InitialState::load(checkpoint.as_deref(), &settings, &config, steps_per_epoch)?;
        if let (Some(path), false, false) = (
            &checkpoint,
            allows_changes,
            state.changed_settings.is_empty(),
        ) {
            return Err(TrainingError::SettingsMismatch {
                path: path.clone(),
                differences: state.changed_settings,
            });
        }
        // Nothing in the directory changes before all is known to fit.
        if let Some(position) = &state.position {
            loader.check_position(position)?;
        }
        let texts = TextSampler::from_settings(&settings)?;
        let total_steps = state.step + steps_to_train(&loader, &settings, &state);
        settings.schedule(total_steps).check()?;
        settings.objective = state.objective;
        let objective = settings.objective.build::<f32>()?;
        let mut towers = state.towers;
        // Packing the weights does not pay off for a tower that encodes each image only once.
        if objective.uses_no() && !settings.cache_image_features {
            towers.image = towers.image.into_frozen();
        }
        let mut trainer = Trainer::new(
            towers,
            objective,
            settings.gradient_scaling,
            state.optimizer,
            Arc::clone(&ranks),
        )?;
        trainer.broadcast_parameters()?;
        check_same_digest(&*ranks, "optimizer state", trainer.digest())?;
        if let Some(open) = learner {
            let trainable = trainer.trainable_towers();
            let learner = open(&config, trainer.towers(), trainable)?;
            trainer.attach(learner)?;
        }
        let frozen = match trainer.trainable_towers() {
            TrainableTowers::Clip => None,
            TrainableTowers::NoTower => {
                let preprocessing = &loader.settings().preprocessing;
                let frozen =
                    open_features(&settings, &dir, preprocessing, trainer.towers(), &*ranks)?;
                check_same_digest(&*ranks, "weights of frozen towers", frozen.checksum())?;
                Some(frozen)
            }
        };
        let loader = match frozen.as_ref().and_then(FrozenFeatures::cached_images) {
            Some(cached) => loader.with_cached_images(cached),
            None => loader,
        };
        let log = match ranks.rank() {
            0 => Some(open_log(&dir, &start, state.step)?),
            _ => None,
        };
        if ranks.rank() == 0 {
            settings.write(dir.join(TrainSettings::FILE_NAME))?;
        }
        ranks.barrier()?;
        let settings_threads = settings.threads;
        Ok(TrainRun {
            lock: lock.keep(),
            settings,
            config,
            dir,
            loader,
            trainer,
            texts,
            frozen,
            damaged,
            store,
            log,
            step: state.step,
            total_steps,
            before: Completed {
                steps: state.step,
                samples: state.samples,
            },
            epoch: state.epoch,
            position: state.position,
            is_repeated: matches!(start, RunStart::From(_)),
            truncated_captions: 0,
            unseen_words: UnseenWords::default(),
            notes: state.notes,
            changed_settings: state.changed_settings,
            changed_threads: state.threads.filter(|threads| *threads != settings_threads),
            ranks,
        })
    }
}

/// The lock of a run that is being opened, before anything in its directory is read or changed.
struct RunLock {
    lock: Option<StateLock>,
    /// Directory that was created for the run, and is removed if it is still empty.
    created: Option<PathBuf>,
}

impl RunLock {
    /// Locks the directory on rank 0, which writes to it.
    fn acquire(dir: &Path, ranks: &Ranks) -> Result<Self, TrainingError> {
        if ranks.rank() > 0 {
            return Ok(Self {
                lock: None,
                created: None,
            });
        }
        let created = (!dir.exists()).then(|| dir.to_owned());
        files::create_directories(dir).map_err(StateError::io("create the directory", dir))?;
        Ok(Self {
            lock: Some(StateLock::of_directory(dir)?),
            created,
        })
    }

    /// Ends the opening of the run.
    fn keep(mut self) -> Option<StateLock> {
        self.created = None;
        self.lock.take()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        self.lock = None;
        if let Some(created) = &self.created {
            // Fails, as it should, for a directory that is not empty.
            let _ = std::fs::remove_dir(created);
        }
    }
}

/// Checkpoints of a run.
struct Checkpoints {
    /// Their directory, on rank 0.
    store: Option<CheckpointStore>,
    /// The one that the run starts from.
    start: Option<PathBuf>,
    /// Newer ones that cannot be used, on rank 0.
    damaged: Vec<PathBuf>,
}

/// Opens the directory of checkpoints on rank 0, which decides for all where the run starts.
fn open_checkpoints(
    dir: &Path,
    start: &RunStart,
    ranks: &Ranks,
) -> Result<Checkpoints, TrainingError> {
    let root = dir.join("checkpoints");
    let mut label = String::new();
    let mut store = None;
    let mut damaged = Vec::new();
    if ranks.rank() == 0 {
        let opened = CheckpointStore::open(&root)?;
        if *start == RunStart::Latest {
            let newest = opened.latest()?;
            damaged = opened.damaged(newest.as_ref())?;
            check_mark(dir, newest.as_ref(), &damaged)?;
            label = newest.map_or_else(String::new, |saved| saved.label.to_string());
        }
        store = Some(opened);
    }
    let label = ranks.bytes_of_root(label.as_bytes())?;
    let start = match start {
        RunStart::Fresh => None,
        RunStart::From(path) => Some(path.clone()),
        RunStart::Latest if label.is_empty() => None,
        RunStart::Latest => Some(root.join(String::from_utf8_lossy(&label).as_ref())),
    };
    Ok(Checkpoints {
        store,
        start,
        damaged,
    })
}

/// Checks that a run that is marked as finished still has its last checkpoint.
fn check_mark(
    dir: &Path,
    newest: Option<&SavedCheckpoint>,
    damaged: &[PathBuf],
) -> Result<(), TrainingError> {
    let newest = newest.map_or(0, |saved| saved.step);
    match FinishedMark::read(dir)? {
        Some(mark) if mark.step > newest => Err(TrainingError::MissingLastCheckpoint {
            path: dir.to_owned(),
            step: mark.step,
            newest,
            damaged: damaged.to_vec(),
        }),
        _ => Ok(()),
    }
}

fn open_data(
    settings: &TrainSettings,
    config: &ModelConfig,
    progress: &dyn Progress,
    ranks: &Ranks,
) -> Result<CaptionLoader, TrainingError> {
    let data = &settings.data;
    let source = match data.kind {
        DatasetKind::Webdataset => {
            let fields = SampleFields {
                images: data.images.clone(),
                captions: data.captions.clone(),
                ..SampleFields::default()
            };
            let mut shards = ShardSet::open(&data.train_data, fields)?;
            if shards.samples().is_none() && data.num_samples.is_none() {
                shards.count_samples_with_progress(progress)?;
            }
            CaptionSource::Shards(Arc::new(shards))
        }
        DatasetKind::Csv => CaptionTable::read(&data.train_data, &data.table)?.into(),
        DatasetKind::Parquet => CaptionSource::open_parquet(&data.train_data, &data.table)?,
        DatasetKind::Jsonl => CaptionTable::read_json_lines(&data.train_data, &data.table)?.into(),
    };
    // Batches of all processes together.
    let batch_size = settings.batch_size.saturating_mul(settings.processes);
    let mut loader = LoaderSettings::new(config.vision.image_size, batch_size);
    loader.preprocessing = Preprocessing::clip(config.vision.image_size);
    loader.augmentation = settings.augmentation;
    loader.outliers = settings.outlier_mix();
    loader.seed = settings.seed;
    loader.workers = settings.workers;
    loader.sampling = data.sampling;
    loader.train_num_samples = data.num_samples;
    loader.rounding = Rounding::Floor;
    loader.max_skipped = data.max_bad;
    let loader = CaptionLoader::new(source, loader)?;
    Ok(match ranks.world_size() {
        1 => loader,
        _ => loader.with_peers(Arc::new(LoaderPeers(Arc::clone(ranks))))?,
    })
}

/// Returns the number of optimizer steps in an epoch, at least 1.
fn steps_per_epoch(settings: &TrainSettings, loader: &CaptionLoader) -> Result<u64, TrainingError> {
    let batches = loader.batches_per_epoch();
    match batches / settings.accum_freq as u64 {
        0 => Err(TrainingError::InvalidSetting {
            setting: "accum_freq",
            problem: format!(
                "expected at most {batches}, the batches in an epoch, got {}",
                settings.accum_freq
            ),
        }),
        steps => Ok(steps),
    }
}

/// Returns the number of steps that are left of a run.
fn steps_to_train(loader: &CaptionLoader, settings: &TrainSettings, state: &InitialState) -> u64 {
    let epochs = settings.epochs.saturating_sub(state.epoch);
    let (batches, accum_freq) = (loader.batches_per_epoch(), settings.accum_freq as u64);
    match (&state.position, epochs) {
        (_, 0) => 0,
        (None, epochs) => epochs * (batches / accum_freq),
        (Some(position), epochs) => {
            steps_left(batches, position, settings) + (epochs - 1) * (batches / accum_freq)
        }
    }
}

/// Opens the feature caches of frozen towers.
fn open_features(
    settings: &TrainSettings,
    run_dir: &Path,
    preprocessing: &Preprocessing,
    towers: &CpuTowers,
    ranks: &dyn Communicator,
) -> Result<FrozenFeatures, TrainingError> {
    let dir = match &settings.feature_cache {
        Some(dir) => dir.clone(),
        None => run_dir.join("cache"),
    };
    let identity = image_identity(preprocessing, settings.precision);
    let images = settings.cache_image_features.then_some(CacheImages {
        outliers: settings.outlier_mix(),
    });
    let rank = (ranks.rank(), ranks.world_size());
    FrozenFeatures::open(&dir, rank, towers, (&identity, settings.precision), images)
}

/// Whether a path is below a directory, by their canonical names.
fn is_within(path: &Path, dir: &Path) -> bool {
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

/// Creates the log of a fresh run or of one from another run's checkpoint, or opens it at the step of a
/// checkpoint.
fn open_log(dir: &Path, start: &RunStart, step: u64) -> Result<TrainingLog, TrainingError> {
    // An empty log belongs to a run that failed before its first step. A run killed before its
    // first checkpoint has a log but no checkpoint to resume from.
    let lines = std::fs::metadata(dir.join(TrainingLog::LINES_FILE));
    let is_unused = lines.is_ok_and(|file| file.len() == 0);
    // A checkpoint of another run does not continue the log that is here.
    let is_own = match start {
        RunStart::Fresh => false,
        RunStart::Latest => true,
        RunStart::From(checkpoint) => is_within(checkpoint, dir),
    };
    let log = if !is_own && !is_unused {
        TrainingLog::create(dir)?
    } else {
        TrainingLog::resume(dir, step)?
    };
    Ok(log)
}
