//! Pretrained weights in all common formats, with their config and preprocessing: OpenAI's
//! archives, directories of `transformers` and of open_clip's hub, this project's checkpoints, and
//! single files. [`Pretrained::open`] detects the format.

pub(super) mod hub;
mod json;
mod kind;
mod mini;
mod openai;
mod preprocessing;
mod training;
pub(super) mod transformers;

use json::Object;
pub(super) use json::brief;
pub use kind::{BUNDLE_KEY, PretrainedKind};

use std::path::{Path, PathBuf};

use super::{ModelConfig, ModelError, Weights, WeightsMetadata};
use clipn_checkpoint::Checkpoint;
use clipn_image::Preprocessing;

/// Opened weights, with the config and preprocessing stored in or beside them.
#[derive(Debug, Clone)]
pub struct Pretrained {
    kind: PretrainedKind,
    checkpoint: Checkpoint,
    /// The opened path, a file or a directory.
    given: PathBuf,
}

impl Pretrained {
    /// Opens a weights file, or a directory with one, and detects its format. [`Pretrained::MINI`]
    /// opens the built-in model unless a file or directory has that name.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] if the path is missing, has no weights, or is damaged.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        #[cfg(feature = "mini")]
        if Self::is_builtin_name(path) {
            return Self::mini();
        }
        Ok(Self::of(Checkpoint::open(path)?, path))
    }

    fn of(checkpoint: Checkpoint, given: &Path) -> Self {
        Self {
            kind: PretrainedKind::of(&checkpoint, given),
            checkpoint,
            given: given.to_owned(),
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
    pub fn notes(&self) -> WeightsMetadata {
        WeightsMetadata::of(&self.checkpoint)
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
            PretrainedKind::File => return Ok(None),
            PretrainedKind::OpenAi => openai::config(&self.checkpoint, &self.given)?,
            PretrainedKind::WithConfig => hub::config(
                hub::carried(&self.checkpoint)?,
                &hub::embedded_name(&self.checkpoint),
            )?,
            PretrainedKind::OpenClipHub => {
                let path = self.sibling(hub::CONFIG);
                hub::config(Object::read(&path)?, &folder_name(&path))?
            }
            PretrainedKind::Transformers => match self.existing_sibling(transformers::CONFIG) {
                Some(path) => transformers::config(&path)?,
                None => return Ok(None),
            },
            PretrainedKind::TrainingCheckpoint => training::config(&self.sibling(training::STATE))?,
        };
        Ok(Some(config.with_embedded_name()))
    }

    /// Returns the preprocessing that comes with the weights, or `None` if there is none, which
    /// means that of CLIP.
    ///
    /// # Errors
    /// Same as [`config`](Self::config), also for the preprocessing.
    pub fn preprocessing(&self) -> Result<Option<Preprocessing>, ModelError> {
        let Some(config) = self.config()? else {
            return Ok(None);
        };
        let size = config.vision.image_size;
        match self.kind {
            PretrainedKind::File | PretrainedKind::TrainingCheckpoint => Ok(None),
            PretrainedKind::OpenAi => Ok(Some(Preprocessing::clip(size))),
            PretrainedKind::WithConfig => {
                hub::preprocessing(&hub::carried(&self.checkpoint)?, size)
            }
            PretrainedKind::OpenClipHub => {
                hub::preprocessing(&Object::read(&self.sibling(hub::CONFIG))?, size)
            }
            PretrainedKind::Transformers => {
                match self.existing_sibling(transformers::PREPROCESSOR) {
                    Some(path) => transformers::preprocessing(&path, size).map(Some),
                    None => Ok(None),
                }
            }
        }
    }

    /// Returns the config to load with: the one that comes with the weights, or `model`. If both
    /// exist, they may differ only in name and image size, to which positional embeddings are
    /// resized.
    ///
    /// # Errors
    /// [`ModelError::NoConfig`] if there is neither, [`ModelError::Contradiction`] if both differ,
    /// and the errors of [`config`](Self::config).
    pub fn config_or(&self, model: Option<ModelConfig>) -> Result<ModelConfig, ModelError> {
        match (self.config()?, model) {
            (None, None) => Err(ModelError::NoConfig {
                path: self.given.clone(),
                hint: self.hint(),
            }),
            (Some(config), None) | (None, Some(config)) => Ok(config),
            (Some(carried), Some(model)) => match differences(&model, &carried) {
                differing if differing.is_empty() => Ok(model),
                differing => Err(ModelError::Contradiction {
                    path: self.given.clone(),
                    model: model.name,
                    differing: differing.join(", "),
                }),
            },
        }
    }

    /// Validates the weights against [`config_or`](Self::config_or).
    ///
    /// # Errors
    /// Same as [`config_or`](Self::config_or) and [`Weights::new`].
    pub fn weights(&self, model: Option<ModelConfig>) -> Result<Weights, ModelError> {
        Weights::new(self.config_or(model)?, self.checkpoint.clone())
    }

    /// Checks that clipn supports the configs in a directory that has no weights yet. This is the
    /// check that [`config`](Self::config) and [`preprocessing`](Self::preprocessing) make with
    /// weights of open_clip or of `transformers`.
    pub fn check_configs(folder: &Path, is_open_clip: bool) -> Result<(), ModelError> {
        let path = |name| Some(folder.join(name)).filter(|path| path.is_file());
        if is_open_clip {
            let Some(config) = path(hub::CONFIG) else {
                return Ok(());
            };
            let size = hub::config(Object::read(&config)?, &folder_name(&config))?
                .vision
                .image_size;
            return hub::preprocessing(&Object::read(&config)?, size).map(drop);
        }
        // If there are several configs, only the weights determine which one applies.
        let (Some(config), None, None) = (
            path(transformers::CONFIG),
            path(hub::CONFIG),
            path(training::STATE),
        ) else {
            return Ok(());
        };
        if Object::read(&config)?.get("model_type").is_none() {
            return Ok(());
        }
        let size = transformers::config(&config)?.vision.image_size;
        match path(transformers::PREPROCESSOR) {
            Some(pixels) => transformers::preprocessing(&pixels, size).map(drop),
            None => Ok(()),
        }
    }

    fn sibling(&self, name: &str) -> PathBuf {
        self.checkpoint.path().with_file_name(name)
    }

    fn existing_sibling(&self, name: &str) -> Option<PathBuf> {
        Some(self.sibling(name)).filter(|path| path.is_file())
    }

    /// Returns why the weights have no config, or what would determine it.
    fn hint(&self) -> String {
        if self.checkpoint.metadata().contains_key(BUNDLE_KEY) {
            return "the file is a bundle".to_owned();
        }
        if !self.given.is_dir() && self.existing_sibling(hub::CONFIG).is_some() {
            return format!(
                "the config is in {} beside the file; open the directory instead",
                hub::CONFIG
            );
        }
        "no config in or beside the weights".to_owned()
    }
}

/// Returns the model name for a config at `path`: that of the directory, or in Hugging Face's
/// cache, where directories are named after commits, that of the repository.
fn folder_name(path: &Path) -> String {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let Some(folder) = path.parent() else {
        return String::new();
    };
    let repository = folder
        .parent()
        .filter(|parent| name(parent) == "snapshots")
        .and_then(Path::parent)
        .map(name);
    match repository
        .as_deref()
        .and_then(|name| name.strip_prefix("models--")?.split_once("--"))
    {
        Some((_, name)) => name.to_owned(),
        None => name(folder),
    }
}

/// Lists the keys that differ, except for name and image size: `activation is gelu, not quickgelu`.
fn differences(model: &ModelConfig, carried: &ModelConfig) -> Vec<String> {
    let mut differing = Vec::new();
    let leaves = |config: &ModelConfig| {
        let mut found = Vec::new();
        json::leaves(
            "",
            &serde_json::to_value(config).unwrap_or_default(),
            &mut found,
        );
        found.retain(|(path, _)| path != "name" && path != "vision.image_size");
        found
    };
    let (given, carried) = (leaves(model), leaves(carried));
    for (path, value) in &given {
        match carried.iter().find(|(other, _)| other == path) {
            Some((_, other)) if other == value => {}
            Some((_, other)) => differing.push(format!("{path} is {other}, not {value}")),
            None => differing.push(format!("{path} is absent, not {value}")),
        }
    }
    let only_carried = carried
        .iter()
        .filter(|(path, _)| given.iter().all(|(other, _)| other != path));
    differing.extend(only_carried.map(|(path, value)| format!("{path} is {value}, not absent")));
    differing
}

/// Returns a ratio that gives exactly `hidden` when multiplied by `width` and truncated. If either
/// is 0, the ratio is 0, which a config rejects.
pub(super) fn mlp_ratio(width: usize, hidden: usize) -> f64 {
    if hidden == 0 || width == 0 {
        return 0.0;
    }
    let is_whole = hidden.is_multiple_of(width);
    // The middle of the range that truncates to `hidden`, so that rounding of the ratio cannot
    // leave it.
    (if is_whole {
        hidden as f64
    } else {
        hidden as f64 + 0.5
    }) / width as f64
}
