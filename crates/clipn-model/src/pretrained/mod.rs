//! PretrainedWeights weights in all common formats, with their config and preprocessing: OpenAI's
//! archives, directories of `transformers` and of open_clip's hub, this project's checkpoints, and
//! single files. [`PretrainedWeights::open`] detects the format.

pub(crate) mod hub;
pub(crate) mod image_processor;
mod kind;
mod mini;
mod openai;
mod training;
pub(crate) mod transformers;

use std::path::{Path, PathBuf};

use clipn_checkpoint::{Checkpoint, has_weights_signature};
use clipn_image::Preprocessing;
use serde_json::Value;

use crate::config::{ConfigObject, ModelConfig};
use crate::error::{ModelError, NoConfigReason};
use crate::pretrained::image_processor::ImageProcessorConfigs;
use crate::weights::{ModelWeights, WeightsMetadata};

pub use kind::{BUNDLE_KEY, PretrainedKind};

/// Opened weights, with the config and preprocessing stored in or beside them.
#[derive(Debug, Clone)]
pub struct PretrainedWeights {
    kind: PretrainedKind,
    checkpoint: Checkpoint,
    /// The opened path, a file or a directory.
    source_path: PathBuf,
}

impl PretrainedWeights {
    /// Opens a weights file, or a directory with one, and detects its format. [`PretrainedWeights::MINI`]
    /// opens the built-in model unless a file or directory has that name.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] if the path is missing, has no weights, or is damaged;
    /// [`ModelError::MiniNotEmbedded`] if it names the built-in model in a build without it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with_key(path, None)
    }

    /// Same as [`open`](Self::open) for one of several models in a file, such as an averaged copy
    /// (`state_dict_ema`); see [`Checkpoint::open_model`].
    ///
    /// # Errors
    /// Same as [`open`](Self::open), also if no model, or more than one, has the name.
    pub fn open_with_key(path: impl AsRef<Path>, key: Option<&str>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        if Self::is_builtin_name(path) {
            return Self::mini();
        }
        Ok(Self::from_checkpoint(
            Checkpoint::open_model(path, key)?,
            path,
        ))
    }

    fn from_checkpoint(checkpoint: Checkpoint, source_path: &Path) -> Self {
        Self {
            kind: PretrainedKind::detect(&checkpoint, source_path),
            checkpoint,
            source_path: source_path.to_owned(),
        }
    }

    /// Returns the format of the weights.
    pub fn kind(&self) -> PretrainedKind {
        self.kind
    }

    /// Returns the tensors, under open_clip's names.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns this project's metadata; empty if the file has none.
    pub fn metadata(&self) -> WeightsMetadata {
        WeightsMetadata::from_checkpoint(&self.checkpoint)
    }

    /// Returns the config that comes with the weights, or `None` if there is none. A single
    /// open_clip file has no config, and its tensors determine neither activation nor heads.
    ///
    /// # Errors
    /// [`ModelError::ReadConfig`] if the config cannot be read, [`ModelError::BadConfig`] if it is
    /// invalid, [`ModelError::UnsupportedConfig`] if it requires a computation that clipn does not
    /// implement.
    pub fn config(&self) -> Result<Option<ModelConfig>, ModelError> {
        let config = match self.kind {
            PretrainedKind::TensorsOnly => return Ok(None),
            PretrainedKind::OpenAi => openai::config(&self.checkpoint, &self.source_path)?,
            PretrainedKind::EmbeddedConfig => hub::config(
                hub::embedded_config(&self.checkpoint)?,
                &hub::embedded_name(&self.checkpoint),
            )?,
            PretrainedKind::OpenClipHub => {
                let path = self.sibling(hub::CONFIG_FILE);
                hub::config(ConfigObject::read(&path)?, &model_name_of_directory(&path))?
            }
            PretrainedKind::Transformers => {
                match self.existing_sibling(transformers::CONFIG_FILE) {
                    Some(path) => transformers::config(&path)?,
                    None => return Ok(None),
                }
            }
            PretrainedKind::TrainingCheckpoint => {
                training::config(&self.sibling(training::STATE_FILE))?
            }
        };
        Ok(Some(config.with_embedded_name()))
    }

    /// Returns the preprocessing that comes with the weights, or `None` if there is none, which
    /// means that of CLIP.
    ///
    /// # Errors
    /// Same as [`config`](Self::config), also for the preprocessing;
    /// [`ModelError::UnsupportedPreprocessing`] if it is not CLIP's.
    pub fn preprocessing(&self) -> Result<Option<Preprocessing>, ModelError> {
        let Some(config) = self.config()? else {
            return Ok(None);
        };
        let size = config.vision.image_size;
        match self.kind {
            PretrainedKind::TensorsOnly | PretrainedKind::TrainingCheckpoint => Ok(None),
            PretrainedKind::OpenAi => Ok(Some(Preprocessing::clip(size))),
            PretrainedKind::EmbeddedConfig => {
                hub::preprocessing(&hub::embedded_config(&self.checkpoint)?, size)
            }
            PretrainedKind::OpenClipHub => {
                hub::preprocessing(&ConfigObject::read(&self.sibling(hub::CONFIG_FILE))?, size)
            }
            PretrainedKind::Transformers => {
                ImageProcessorConfigs::find(self.directory())?.preprocessing(size)
            }
        }
    }

    /// Returns the config to load with: the one that comes with the weights, or `model`. If both
    /// exist, they may differ only in name and image size, to which positional embeddings are
    /// resized.
    ///
    /// # Errors
    /// [`ModelError::NoConfig`] if there is neither, [`ModelError::ConfigMismatch`] if both differ,
    /// and the errors of [`config`](Self::config).
    pub fn config_or(&self, model: Option<ModelConfig>) -> Result<ModelConfig, ModelError> {
        match (self.config()?, model) {
            (None, None) => Err(ModelError::NoConfig {
                path: self.source_path.clone(),
                reason: self.no_config_reason(),
            }),
            (Some(config), None) | (None, Some(config)) => Ok(config),
            (Some(embedded), Some(model)) => match differences(&model, &embedded) {
                differing if differing.is_empty() => Ok(model),
                differing => Err(ModelError::ConfigMismatch {
                    path: self.source_path.clone(),
                    model: model.name,
                    differences: differing,
                }),
            },
        }
    }

    /// Validates the weights against [`config_or`](Self::config_or).
    ///
    /// # Errors
    /// Same as [`config_or`](Self::config_or) and [`ModelWeights::new`].
    pub fn weights(&self, model: Option<ModelConfig>) -> Result<ModelWeights, ModelError> {
        ModelWeights::new(self.config_or(model)?, self.checkpoint.clone())
    }

    /// Checks that clipn supports the configs in a directory that has no weights yet. This is the
    /// check that [`config`](Self::config) and [`preprocessing`](Self::preprocessing) make with
    /// weights of open_clip or of `transformers`.
    ///
    /// # Errors
    /// Same as [`config`](Self::config) and [`preprocessing`](Self::preprocessing).
    pub fn check_supported_configs(
        directory: impl AsRef<Path>,
        is_open_clip: bool,
    ) -> Result<(), ModelError> {
        let path = |name| Some(directory.as_ref().join(name)).filter(|path| is_there(path));
        if is_open_clip {
            let Some(config) = path(hub::CONFIG_FILE) else {
                return Ok(());
            };
            let size = hub::config(
                ConfigObject::read(&config)?,
                &model_name_of_directory(&config),
            )?
            .vision
            .image_size;
            return hub::preprocessing(&ConfigObject::read(&config)?, size).map(drop);
        }
        // If there are several configs, only the weights determine which one applies.
        let (Some(config), None, None) = (
            path(transformers::CONFIG_FILE),
            path(hub::CONFIG_FILE),
            path(training::STATE_FILE),
        ) else {
            return Ok(());
        };
        if ConfigObject::read(&config)?.get("model_type").is_none() {
            return Ok(());
        }
        let size = transformers::config(&config)?.vision.image_size;
        ImageProcessorConfigs::find(directory.as_ref())?
            .preprocessing(size)
            .map(drop)
    }

    /// Returns the `preprocessor_config.json` of a `transformers` model whose pixels differ from
    /// those of the `processor_config.json` that overrides it. `transformers` 5 reads the latter, as
    /// clipn does; version 4 reads the former.
    pub fn overridden_preprocessing(&self) -> Option<PathBuf> {
        if self.kind != PretrainedKind::Transformers {
            return None;
        }
        let size = self.config().ok()??.vision.image_size;
        ImageProcessorConfigs::find(self.directory())
            .ok()?
            .differing(size)
    }

    /// Directory of the weights.
    fn directory(&self) -> &Path {
        self.checkpoint.path().parent().unwrap_or(Path::new(""))
    }

    fn sibling(&self, name: &str) -> PathBuf {
        self.checkpoint.path().with_file_name(name)
    }

    fn existing_sibling(&self, name: &str) -> Option<PathBuf> {
        Some(self.sibling(name)).filter(|path| is_there(path))
    }

    fn no_config_reason(&self) -> NoConfigReason {
        if self.checkpoint.metadata().contains_key(BUNDLE_KEY) {
            NoConfigReason::Bundle
        } else if !self.source_path.is_dir() && self.existing_sibling(hub::CONFIG_FILE).is_some() {
            NoConfigReason::ConfigInDirectory {
                config: hub::CONFIG_FILE,
            }
        } else {
            NoConfigReason::Absent
        }
    }
}

impl ModelConfig {
    /// Resolves the name of an architecture, a config file, or weights with a config
    /// ([`PretrainedWeights`]).
    ///
    /// # Errors
    /// Same as [`ModelConfig::embedded`], [`ModelConfig::load`] and
    /// [`PretrainedWeights::config_or`].
    pub fn resolve(name_or_path: &str) -> Result<Self, ModelError> {
        let path = Path::new(name_or_path);
        let is_json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        match Self::embedded(name_or_path) {
            Err(_)
                if path.is_dir()
                    || has_weights_signature(path)
                    || PretrainedWeights::is_builtin_name(path) =>
            {
                PretrainedWeights::open(path)?.config_or(None)
            }
            _ if is_json || path.is_file() => Self::load(path),
            embedded => embedded,
        }
    }
}

/// Returns the error of an unsupported value as one of the preprocessing.
fn of_preprocessing(error: ModelError) -> ModelError {
    match error {
        ModelError::UnsupportedConfig { origin, what } => {
            ModelError::UnsupportedPreprocessing { origin, what }
        }
        other => other,
    }
}

/// Whether a directory has a config. A link that leads nowhere counts, so that reading it is an error:
/// without the config, the weights would be computed otherwise.
fn is_there(path: &Path) -> bool {
    path.is_file() || path.is_symlink()
}

/// Returns the preprocessing if it is valid.
fn validated(origin: &str, preprocessing: Preprocessing) -> Result<Preprocessing, ModelError> {
    match preprocessing.validate() {
        Ok(()) => Ok(preprocessing),
        Err(error) => Err(ModelError::BadConfig {
            origin: origin.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Returns the model name for a config at `path`: that of the directory, or in Hugging Face's
/// cache, where directories are named after commits, that of the repository.
fn model_name_of_directory(path: &Path) -> String {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let Some(directory) = path.parent() else {
        return String::new();
    };
    let repository = directory
        .parent()
        .filter(|parent| name(parent) == "snapshots")
        .and_then(Path::parent)
        .map(name);
    match repository
        .as_deref()
        .and_then(|name| name.strip_prefix("models--")?.split_once("--"))
    {
        Some((_, name)) => name.to_owned(),
        None => name(directory),
    }
}

/// Lists the keys that differ, except for name and image size: `activation is gelu, not quickgelu`.
fn differences(model: &ModelConfig, embedded: &ModelConfig) -> Vec<String> {
    let values = |config: &ModelConfig| {
        let mut found = Vec::new();
        let config = serde_json::to_value(config).unwrap_or_default();
        flatten("", &config, &mut found);
        found.retain(|(path, _)| path != "name" && path != "vision.image_size");
        found
    };
    let (given, embedded) = (values(model), values(embedded));
    let mut differing = Vec::new();
    for (path, value) in &given {
        match embedded.iter().find(|(other, _)| other == path) {
            Some((_, other)) if other == value => {}
            Some((_, other)) => differing.push(format!("{path} is {other}, not {value}")),
            None => differing.push(format!("{path} is absent, not {value}")),
        }
    }
    let only_embedded = embedded
        .iter()
        .filter(|(path, _)| given.iter().all(|(other, _)| other != path));
    differing.extend(only_embedded.map(|(path, value)| format!("{path} is {value}, not absent")));
    differing
}

/// Collects every leaf of a value with its dotted path.
fn flatten(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                flatten(&path, value, found);
            }
        }
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        other => found.push((path.to_owned(), other.to_string())),
    }
}
