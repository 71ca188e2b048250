use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AdamWSettings, GradientScaling, ObjectiveSettings, Schedule, TrainingError};
use clipn_data::{CaptionField, MaxBad, Sampling, TableFormat};
use clipn_image::Augmentation;

/// Everything that a run depends on; `settings.toml` holds it, and a run with the same settings does the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// The architecture's name or a config file.
    pub model: String,
    /// Weights to start from; none starts an untrained CLIP, for the objective `clip` only.
    #[serde(default)]
    pub pretrained: Option<PathBuf>,
    /// Number of learnable "no" prompts of the objective `clipn`.
    pub no_prompts: usize,
    /// Template set of the objective `clipn-handcrafted`.
    pub templates: String,
    /// Samples of a part of a batch, on one process.
    pub batch_size: usize,
    /// Parts of a batch: an optimizer step takes `batch_size · accum_freq` samples on every process.
    pub accum_freq: usize,
    /// Epochs of the whole run.
    pub epochs: u64,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Whether the learning rate stays after warm-up instead of falling to zero along half a cosine.
    pub constant_lr: bool,
    /// What initial weights, the order of the data, augmentation and the drawing of prompts depend on.
    pub seed: u64,
    /// Threads that read and augment images ahead.
    pub workers: usize,
    /// Whether image features are kept and used again, which asks for a fixed crop.
    pub cache_image_features: bool,
    /// Where features are kept, for runs on the same data one after the other; `None` for the run's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_cache: Option<PathBuf>,
    /// Epochs between checkpoints.
    pub save_frequency: u64,
    /// Optimizer steps between further checkpoints.
    #[serde(default)]
    pub save_every: Option<u64>,
    /// Newest checkpoints that are kept.
    pub keep: usize,
    /// The objective.
    pub objective: ObjectiveSettings,
    /// The optimizer.
    pub optimizer: AdamWSettings,
    /// How gradients of several processes add up.
    pub gradient_scaling: GradientScaling,
    /// The data.
    pub data: DataSettings,
    /// What is done to pictures at random.
    pub augmentation: Augmentation,
}

/// Where training data are and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// Shards (brace ranges, globs, lists, a folder), or a CSV or TSV file.
    pub train_data: String,
    /// What it is.
    pub kind: DatasetKind,
    /// Samples of an epoch; as many as there are where not given.
    #[serde(default)]
    pub num_samples: Option<u64>,
    /// How samples follow one another.
    pub sampling: Sampling,
    /// How many broken samples end the run.
    pub max_bad: MaxBad,
    /// Sources of captions in shards, the first that a sample has.
    pub captions: Vec<CaptionField>,
    /// How a table is written.
    pub table: TableFormat,
}

/// What training data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// WebDataset shards.
    Webdataset,
    /// A CSV or TSV file of image paths and captions.
    Csv,
}

impl TrainSettings {
    /// Reads a `settings.toml` that a run has written.
    ///
    /// # Errors
    /// [`TrainingError::Setting`]: the file cannot be read, or is not such a file.
    pub fn load(path: &Path) -> Result<Self, TrainingError> {
        let refuse = |problem: String| TrainingError::Setting {
            setting: "--settings",
            problem: format!("{} {problem}", path.display()),
        };
        let text =
            std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        toml::from_str(&text).map_err(|e| {
            let first = e.message().lines().next().unwrap_or_default().to_owned();
            refuse(format!(
                "is not the settings of a run: {first}; give the settings.toml of a run's folder"
            ))
        })
    }

    /// The learning-rate schedule of a run of so many steps.
    pub fn schedule(&self, total: u64) -> Schedule {
        let (base, warmup) = (self.lr, self.warmup);
        if self.constant_lr {
            Schedule::Constant { base, warmup }
        } else {
            Schedule::Cosine {
                base,
                warmup,
                total,
            }
        }
    }

    /// Says whether a run can begin at its first step with these settings; one that is resumed needs no weights.
    pub(super) fn check_start(&self) -> Result<(), TrainingError> {
        if self.pretrained.is_none() && self.objective.name != "clip" {
            let problem = "is missing: \"no\" is taught to a trained CLIP; give its weights, or train one with \
                           --objective clip";
            return Err(TrainingError::Setting {
                setting: "--pretrained",
                problem: problem.to_owned(),
            });
        }
        Ok(())
    }

    /// Says whether the settings make sense, as far as that can be told without the data.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] names the first that does not.
    pub fn check(&self) -> Result<(), TrainingError> {
        let refuse = |setting, problem: &str| {
            Err(TrainingError::Setting {
                setting,
                problem: problem.to_owned(),
            })
        };
        if self.accum_freq == 0 {
            return refuse("--accum-freq", "is 0; give at least 1");
        }
        if self.epochs == 0 {
            return refuse("--epochs", "is 0; give at least 1");
        }
        if self.save_frequency == 0 || self.save_every == Some(0) {
            return refuse("--save-frequency and --save-every", "must be at least 1");
        }
        if self.keep == 0 {
            return refuse("--keep", "is 0; keep at least the newest checkpoint");
        }
        if self.batch_size.saturating_mul(self.accum_freq) < 2 {
            return refuse(
                "--batch-size",
                "is 1; the losses contrast the samples of a batch, so give at least 2",
            );
        }
        if self.objective.name == "clip" && self.cache_image_features {
            return refuse(
                "--cache-image-features",
                "keeps features of a tower that learns under --objective clip",
            );
        }
        if self.cache_image_features && self.augmentation != Augmentation::none() {
            return refuse(
                "--cache-image-features",
                "asks for a fixed crop; give --augmentation none too",
            );
        }
        self.optimizer.check()?;
        Ok(())
    }
}
