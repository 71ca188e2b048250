//! Weights as people have them, with the config and the preprocessing that come along: OpenAI's archives, folders of
//! `transformers` and of open_clip's hub, this project's checkpoints, single files. [`Pretrained::open`] tells which.

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

use super::{ModelConfig, ModelError, Weights, WeightsNotes};
use clipn_checkpoint::Checkpoint;
use clipn_image::Preprocessing;

/// Opened weights, and what is known of the model without being told.
#[derive(Debug, Clone)]
pub struct Pretrained {
    kind: PretrainedKind,
    checkpoint: Checkpoint,
    /// What was opened, a file or a folder.
    given: PathBuf,
}

impl Pretrained {
    /// Opens a weights file or a folder with one, and tells by the content what it is. [`Pretrained::MINI`] is the
    /// built-in model, where nothing lies there under that name.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`]: nothing there, no weights, damaged.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        #[cfg(feature = "mini")]
        if Self::is_mini(path) {
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

    /// What it is.
    pub fn kind(&self) -> PretrainedKind {
        self.kind
    }

    /// The tensors, under open_clip's names.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the file tells beside its tensors; nothing where it is not of this project.
    pub fn notes(&self) -> WeightsNotes {
        WeightsNotes::of(&self.checkpoint)
    }

    /// The config that comes with the weights; `None` where nothing tells it, as for a single file of open_clip's,
    /// whose tensors say nothing about activation and heads.
    ///
    /// # Errors
    /// A config that cannot be read, is not usable, or asks for a computation that clipn does not have.
    pub fn config(&self) -> Result<Option<ModelConfig>, ModelError> {
        let config = match self.kind {
            PretrainedKind::File => return Ok(None),
            PretrainedKind::OpenAi => openai::config(&self.checkpoint, &self.given)?,
            PretrainedKind::WithConfig => hub::config(
                hub::carried(&self.checkpoint)?,
                &hub::carried_name(&self.checkpoint),
            )?,
            PretrainedKind::OpenClipHub => {
                let path = self.beside(hub::CONFIG);
                hub::config(Object::read(&path)?, &folder_name(&path))?
            }
            PretrainedKind::Transformers => match self.beside_if_there(transformers::CONFIG) {
                Some(path) => transformers::config(&path)?,
                None => return Ok(None),
            },
            PretrainedKind::TrainingCheckpoint => training::config(&self.beside(training::STATE))?,
        };
        Ok(Some(config.known_by_name()))
    }

    /// The preprocessing that comes with the weights; `None` where nothing tells it, which means CLIP's own.
    ///
    /// # Errors
    /// As [`config`](Self::config), and preprocessing that clipn does not have.
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
                hub::preprocessing(&Object::read(&self.beside(hub::CONFIG))?, size)
            }
            PretrainedKind::Transformers => {
                match self.beside_if_there(transformers::PREPROCESSOR) {
                    Some(path) => transformers::preprocessing(&path, size).map(Some),
                    None => Ok(None),
                }
            }
        }
    }

    /// The config to load with: the one that comes with the weights, or `model`, which must not say otherwise but for
    /// the size of images, to which positional embeddings are resized.
    ///
    /// # Errors
    /// Neither tells it, or both do and differ; and those of [`config`](Self::config).
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

    /// Holds the weights against [`config_or`](Self::config_or).
    ///
    /// # Errors
    /// As there and as [`Weights::new`].
    pub fn weights(&self, model: Option<ModelConfig>) -> Result<Weights, ModelError> {
        Weights::new(self.config_or(model)?, self.checkpoint.clone())
    }

    /// Holds the configs in a folder against what clipn computes, before there are weights in it: as
    /// [`config`](Self::config) and [`preprocessing`](Self::preprocessing) will with weights of open_clip or of
    /// `transformers`.
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
        // Which of several speaks of the weights is told by the weights alone.
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

    fn beside(&self, name: &str) -> PathBuf {
        self.checkpoint.path().with_file_name(name)
    }

    fn beside_if_there(&self, name: &str) -> Option<PathBuf> {
        Some(self.beside(name)).filter(|path| path.is_file())
    }

    /// What else might be given, where the weights alone do not tell their config.
    fn hint(&self) -> String {
        if self.checkpoint.metadata().contains_key(BUNDLE_KEY) {
            return "it is a bundle, which --bundle takes".to_owned();
        }
        if !self.given.is_dir() && self.beside_if_there(hub::CONFIG).is_some() {
            return format!(
                "give --model, or its folder, whose {} tells it",
                hub::CONFIG
            );
        }
        "give --model, an architecture's name or a config file; `clipn inspect` tells which ones fit"
            .to_owned()
    }
}

/// What a model is called whose config is at `path`: as its folder, or in Hugging Face's cache, where folders are called
/// by commits, as its repository.
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

/// What two configs say differently, names and the size of images aside: `activation is gelu and not quickgelu`.
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
    let (said, carried) = (leaves(model), leaves(carried));
    for (path, value) in &said {
        match carried.iter().find(|(other, _)| other == path) {
            Some((_, other)) if other == value => {}
            Some((_, other)) => differing.push(format!("{path} is {value} there and {other} here")),
            None => differing.push(format!("{path} is {value} there and absent here")),
        }
    }
    let only_carried = carried
        .iter()
        .filter(|(path, _)| said.iter().all(|(other, _)| other != path));
    differing.extend(
        only_carried.map(|(path, value)| format!("{path} is absent there and {value} here")),
    );
    differing
}

/// A ratio that gives exactly `hidden` when it is multiplied by `width` and cut to a whole number. One of nothing is 0,
/// which a config refuses.
pub(super) fn mlp_ratio(width: usize, hidden: usize) -> f64 {
    if hidden == 0 || width == 0 {
        return 0.0;
    }
    let is_whole = hidden.is_multiple_of(width);
    // In the middle of what is cut to `hidden`, so that no rounding of the ratio on its way leads out of it.
    (if is_whole {
        hidden as f64
    } else {
        hidden as f64 + 0.5
    }) / width as f64
}
