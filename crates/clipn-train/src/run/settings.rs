use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use clipn_base::content::ContentKind;
use clipn_base::files::{MAX_TEXT, read_at_most};
use clipn_base::text::at_line;
use clipn_data::{
    CaptionField, CaptionTableFormat, SampleFields, Sampling, SkipLimit, TableKind, is_archive_name,
};
use clipn_image::{Augmentation, OutlierMix};
use clipn_model::Precision;
use clipn_text::prompts::TemplateSet;

use crate::error::TrainingError;
use crate::objective::{GradientScaling, LossWeights, ObjectiveName, ObjectiveSettings};
use crate::optimizer::AdamWSettings;
use crate::schedule::Schedule;

/// Everything that a run depends on, as stored in `settings.toml`. Runs with equal settings give
/// equal results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Name of the architecture, or path of a config file.
    pub model: String,
    /// Weights to start from. `None` starts an untrained CLIP, which only the objective `clip`
    /// allows.
    #[serde(default)]
    pub pretrained: Option<PathBuf>,
    /// Number of learnable "no" prompts of the objective `clipn`.
    pub no_prompts: usize,
    /// Template set of the objective `clipn-handcrafted`.
    pub templates: String,
    /// Number of processes that the run was started on, which a run sets itself.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub processes: usize,
    /// Number of computing threads of a process, which a run sets itself: the last bits of sums depend on
    /// it. 0 if it is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub threads: usize,
    /// Precision of the towers, that of the device, which a run sets itself.
    #[serde(default)]
    pub precision: Precision,
    /// Samples in a micro-batch on one process.
    pub batch_size: usize,
    /// Gradient accumulation steps: micro-batches in an optimizer step, which uses `batch_size ·
    /// accum_freq` samples on every process.
    pub accum_freq: usize,
    /// Epochs of the whole run.
    pub epochs: u64,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Warm-up steps.
    pub warmup: u64,
    /// Whether the learning rate is constant after warm-up instead of falling to zero along half a
    /// cosine.
    pub constant_lr: bool,
    /// Seed of initial weights, data order, augmentation, and the draws of prompts and templates.
    pub seed: u64,
    /// Threads that read and augment images ahead of training.
    pub workers: usize,
    /// Whether image features are cached and reused, which needs a fixed crop.
    pub cache_image_features: bool,
    /// Directory of the feature caches, for consecutive runs on the same data; `None` for the run's
    /// own directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_cache: Option<PathBuf>,
    /// Epochs between checkpoints.
    pub save_frequency: u64,
    /// Optimizer steps between additional checkpoints; `None` for none.
    #[serde(default)]
    pub save_every: Option<u64>,
    /// Number of newest checkpoints to keep.
    pub keep: usize,
    /// Objective and its parameters.
    pub objective: ObjectiveSettings,
    /// Kinds of the outliers, if the objective uses outliers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outliers: OutlierMix,
    /// AdamW's parameters.
    pub optimizer: AdamWSettings,
    /// Scale of each process's gradient in the sum over all processes.
    pub gradient_scaling: GradientScaling,
    /// Training data.
    pub data: DataSettings,
    /// Random augmentation of the images.
    pub augmentation: Augmentation,
}

/// Location of the training data and how to read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// Shards (brace ranges, globs, lists, a directory), a CSV, TSV or JSON Lines file, or Parquet
    /// files.
    pub train_data: String,
    /// Format of `train_data`.
    pub kind: DatasetKind,
    /// Samples in an epoch; `None` for as many as the data set has.
    #[serde(default)]
    pub num_samples: Option<u64>,
    /// Order in which samples are drawn.
    pub sampling: Sampling,
    /// Limit on broken samples, above which the run ends.
    pub max_bad: SkipLimit,
    /// Extensions of images in shards, by priority: the first that a sample has is used.
    #[serde(default = "default_images")]
    pub images: Vec<String>,
    /// Caption fields in shards, by priority: the first that a sample has is used.
    pub captions: Vec<CaptionField>,
    /// Columns and separator of a table.
    pub table: CaptionTableFormat,
}

/// Format of training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DatasetKind {
    /// WebDataset shards.
    Webdataset,
    /// A CSV or TSV file of image paths and captions.
    Csv,
    /// JSON Lines of image paths and captions.
    Jsonl,
    /// Parquet files of images, or of image paths, and captions.
    Parquet,
}

impl DatasetKind {
    /// Detects the format from the file name: `.csv` and `.tsv` are tables, `.jsonl` and `.ndjson`
    /// JSON Lines, `.parquet` is Parquet, anything else is shards.
    pub fn from_file_name(train_data: &str) -> Self {
        match TableKind::of_file(train_data) {
            Some(TableKind::Delimited) => Self::Csv,
            Some(TableKind::JsonLines) => Self::Jsonl,
            Some(TableKind::Parquet) => Self::Parquet,
            _ => Self::Webdataset,
        }
    }
}

impl DatasetKind {
    /// Detects the format from the file name and, if that is no table, from what is there: a
    /// directory of Parquet files without shards, or a file that begins like Parquet.
    pub fn detect(train_data: &str) -> Self {
        let by_name = Self::from_file_name(train_data);
        let path = Path::new(train_data);
        let is_parquet = match by_name {
            Self::Webdataset if path.is_dir() => has_only_parquet(path),
            Self::Webdataset => {
                path.is_file()
                    && ContentKind::of_file(path).is_ok_and(|kind| kind == ContentKind::Parquet)
            }
            _ => false,
        };
        if is_parquet { Self::Parquet } else { by_name }
    }
}

/// Whether a directory has Parquet files and no shards.
fn has_only_parquet(directory: &Path) -> bool {
    let names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    let is_parquet = |name: &String| TableKind::of_file(name) == Some(TableKind::Parquet);
    names.iter().any(is_parquet) && !names.iter().any(|name| is_archive_name(name))
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde calls.
fn is_one(processes: &usize) -> bool {
    *processes == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde calls.
fn is_zero(threads: &usize) -> bool {
    *threads == 0
}

fn is_default(outliers: &OutlierMix) -> bool {
    *outliers == OutlierMix::default()
}

fn default_images() -> Vec<String> {
    SampleFields::default().images
}

impl DataSettings {
    /// Creates the settings of shards or a table, each sample drawn once an epoch.
    pub fn new(train_data: impl Into<String>) -> Self {
        let train_data = train_data.into();
        Self {
            kind: DatasetKind::from_file_name(&train_data),
            train_data,
            num_samples: None,
            sampling: Sampling::Shuffled,
            max_bad: SkipLimit::Fraction(0.1),
            images: default_images(),
            captions: SampleFields::default().captions,
            table: CaptionTableFormat::default(),
        }
    }
}

impl TrainSettings {
    /// Creates the settings of a CLIPN training as published, on shards or a table at `train_data`.
    ///
    /// `model` is the name of an architecture or the path of a config file. A file name that ends in
    /// `.csv` or `.tsv` is a table. Training needs [`pretrained`](Self::pretrained) weights, unless
    /// the objective is [`ObjectiveName::Clip`].
    ///
    /// ```
    /// use clipn_train::{DatasetKind, TrainSettings};
    ///
    /// let mut settings = TrainSettings::new("ViT-B-16", "cc3m-train-{000..575}.tar");
    /// settings.pretrained = Some("vit_b16.pt".into());
    /// settings.epochs = 5;
    /// assert_eq!(settings.data.kind, DatasetKind::Webdataset);
    /// settings.check()?;
    /// # Ok::<(), clipn_train::TrainingError>(())
    /// ```
    pub fn new(model: impl Into<String>, train_data: impl Into<String>) -> Self {
        let train_data = train_data.into();
        Self {
            model: model.into(),
            pretrained: None,
            no_prompts: 16,
            templates: TemplateSet::DEFAULT_NAME.to_owned(),
            processes: 1,
            threads: 0,
            precision: Precision::F32,
            batch_size: 64,
            accum_freq: 1,
            epochs: 10,
            lr: 3e-4,
            warmup: 0,
            constant_lr: false,
            seed: 0,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            cache_image_features: false,
            feature_cache: None,
            save_frequency: 1,
            save_every: None,
            keep: 3,
            objective: ObjectiveSettings::default(),
            outliers: OutlierMix::default(),
            optimizer: AdamWSettings::default(),
            gradient_scaling: GradientScaling::True,
            data: DataSettings::new(train_data),
            augmentation: Augmentation::published(),
        }
    }

    /// File name in a run's directory.
    pub const FILE_NAME: &'static str = "settings.toml";

    /// Reads a `settings.toml` that a run wrote.
    ///
    /// # Errors
    /// [`TrainingError::ReadSettings`] if the file cannot be read or does not hold training
    /// settings.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TrainingError> {
        let path = path.as_ref();
        let error = |source| TrainingError::ReadSettings {
            path: path.to_owned(),
            source,
        };
        let bytes = read_at_most(path, MAX_TEXT).map_err(|e| error(e.into()))?;
        if let Some(kind) =
            ContentKind::other_than(&bytes, &[ContentKind::Text, ContentKind::Empty])
        {
            return Err(error(format!("expected TOML, got {kind}").into()));
        }
        let text = String::from_utf8(bytes).map_err(|e| error(e.into()))?;
        toml::from_str(&text).map_err(|e| error(at_line(&text, e.span(), e.message()).into()))
    }

    /// Writes the settings to a file.
    ///
    /// # Errors
    /// [`TrainingError::WriteSettings`] if the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), TrainingError> {
        let path = path.as_ref();
        let error = |source| TrainingError::WriteSettings {
            path: path.to_owned(),
            source,
        };
        let text = toml::to_string_pretty(self).map_err(|e| error(e.into()))?;
        clipn_base::files::replace(path, text).map_err(|e| error(e.into()))
    }

    /// Returns the number of samples in an optimizer step, over all processes.
    pub fn samples_per_step(&self) -> usize {
        self.batch_size
            .saturating_mul(self.accum_freq)
            .saturating_mul(self.processes)
    }

    /// Kinds of the outliers that the objective needs; `None` if it needs none.
    pub(crate) fn outlier_mix(&self) -> Option<OutlierMix> {
        self.objective.uses_outliers().then_some(self.outliers)
    }

    /// Returns the learning-rate schedule of a run of `total_steps`.
    pub fn schedule(&self, total_steps: u64) -> Schedule {
        let (base, warmup) = (self.lr, self.warmup);
        if self.constant_lr {
            Schedule::Constant { base, warmup }
        } else {
            Schedule::Cosine {
                base,
                warmup,
                total: total_steps,
            }
        }
    }

    /// Checks that a run can start at its first step with these settings. A resumed run needs no
    /// `pretrained` weights.
    pub(crate) fn check_start(&self) -> Result<(), TrainingError> {
        if self.pretrained.is_none() && self.objective.name.uses_no() {
            return Err(TrainingError::InvalidSetting {
                setting: "pretrained",
                problem: format!(
                    "the objective `{}` needs the weights of a trained CLIP, got none",
                    self.objective.name
                ),
            });
        }
        Ok(())
    }

    /// Checks the settings, as far as that is possible without the data.
    ///
    /// # Errors
    /// [`TrainingError::InvalidSetting`] for the first invalid setting, [`TrainingError::Optimizer`] for
    /// one of AdamW's.
    pub fn check(&self) -> Result<(), TrainingError> {
        let invalid = |setting, problem: &str| {
            Err(TrainingError::InvalidSetting {
                setting,
                problem: problem.to_owned(),
            })
        };
        if self.accum_freq == 0 {
            return invalid("accum_freq", "expected at least 1, got 0");
        }
        if self.epochs == 0 {
            return invalid("epochs", "expected at least 1, got 0");
        }
        if self.save_frequency == 0 || self.save_every == Some(0) {
            return invalid(
                "save_frequency and save_every",
                "expected at least 1, got 0",
            );
        }
        if self.keep == 0 {
            return invalid("keep", "expected at least 1 checkpoint, got 0");
        }
        let LossWeights {
            yes,
            no,
            tso,
            outlier,
        } = self.objective.weights;
        let is_zero = [yes, no, tso, outlier].iter().all(|&weight| weight == 0.0);
        if is_zero && self.objective.name.uses_no() {
            return invalid(
                "objective.weights",
                "expected a weight other than 0, since nothing is learned without one",
            );
        }
        let samples = self.samples_per_step();
        if samples < 2 {
            return invalid(
                "batch_size",
                &format!(
                    "expected at least 2 samples per step for a contrastive loss, got {samples}"
                ),
            );
        }
        if self.objective.name == ObjectiveName::Clip && self.cache_image_features {
            return invalid(
                "cache_image_features",
                "cannot cache features of the image tower, which the objective `clip` trains",
            );
        }
        if self.cache_image_features && self.augmentation != Augmentation::none() {
            return invalid(
                "cache_image_features",
                "needs a fixed crop, but `augmentation` is random",
            );
        }
        let illustrations = self.outliers.illustrations;
        if !(0.0..=1.0).contains(&illustrations) {
            return invalid(
                "outliers.illustrations",
                &format!("expected a share from 0 to 1, got {illustrations}"),
            );
        }
        if illustrations > 0.0 && !self.objective.uses_outliers() {
            return invalid(
                "outliers.illustrations",
                "has no effect without outliers, whose weight is 0",
            );
        }
        self.optimizer.check()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn illustrations_are_a_share_of_outliers() {
        let problem = |illustrations, weight| {
            let mut settings = TrainSettings::new("ViT-B-16", "train.tar");
            settings.outliers.illustrations = illustrations;
            settings.objective.weights.outlier = weight;
            settings.check().err().map(|error| error.to_string())
        };
        assert_eq!(problem(0.4, 1.0), None);
        assert_eq!(problem(0.0, 0.0), None);
        assert_eq!(
            problem(1.5, 1.0).as_deref(),
            Some("outliers.illustrations: expected a share from 0 to 1, got 1.5")
        );
        assert!(problem(f64::NAN, 1.0).is_some());
        assert_eq!(
            problem(0.4, 0.0).as_deref(),
            Some("outliers.illustrations: has no effect without outliers, whose weight is 0")
        );
    }

    #[test]
    fn settings_without_illustrations_are_written_as_before() {
        let mut settings = TrainSettings::new("ViT-B-16", "train.tar");
        let text = toml::to_string_pretty(&settings).unwrap();
        assert!(!text.contains("illustrations"), "{text}");
        settings.outliers.illustrations = 0.25;
        let text = toml::to_string_pretty(&settings).unwrap();
        assert!(text.contains("[outliers]\nillustrations = 0.25"), "{text}");
        assert_eq!(toml::from_str::<TrainSettings>(&text).unwrap(), settings);
    }
}
